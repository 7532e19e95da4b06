"""The columns of a log, laid flat and checked; what is wrong is named by its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmc.counted import counted_that
from xmc.errors import DataError, NonFiniteError, first_few
from xmc.ragged import offsets_of, rows_of

Array = np.ndarray[Any, Any]
LARGEST = 1e18
CHANCES = ("propensities", "rank_propensities")
CHANCE_HINT = "It is the chance with which the label was shown, kept when it was drawn: what was shown had one."


@dataclass(frozen=True)
class Lists:
    """A list column laid flat: `offsets` (Q + 1,) from 0, and its N elements as one Arrow array."""

    offsets: Array
    values: Any

    @property
    def counts_Q(self) -> Array:
        """The length of each list."""
        return np.diff(self.offsets)

    @property
    def rows_N(self) -> Array:
        """The row that each element is of."""
        return rows_of(self.offsets)


class LogRows:
    """The rows of a log table by column. Raises: DataError for a query without id or text."""

    def __init__(self, source: str, table: Any) -> None:
        self._source, self._table = source, table
        self.ids: list[str] = _strings(table.column("query_id")).to_pylist()
        texts = _strings(table.column("text"))
        self.refuse(np.array([not query_id for query_id in self.ids]), "have no query_id")
        self.refuse(np.asarray(pc.equal(pc.utf8_trim_whitespace(texts), "")), "have no text")
        self.texts: list[str] = texts.to_pylist()

    def has(self, name: str) -> bool:
        """Whether the log has this column."""
        return name in self._table.column_names

    def lists(self, name: str, type_: Any = None) -> Lists:
        """A list column, of label ids unless another type is given. Raises: DataError for a null."""
        column = self._table.column(name)
        self.refuse(np.asarray(column.is_null()), f"have no {name}")
        counts_Q = np.asarray(pc.list_value_length(column).combine_chunks())
        values = pc.list_flatten(column).combine_chunks().cast(type_ or pa.large_string())
        found = Lists(offsets_of(counts_Q), values)
        self.refuse_elements(found, np.asarray(values.is_null()), f"stands among {name} of")
        return found

    def numbers(self, name: str, shown: Lists) -> Array:
        """A column with a number for each shown label, flat, float64.

        Raises: DataError where a row has more or fewer, or a propensity that is none; NonFiniteError for NaN and such.
        """
        lists = self.lists(name, pa.float64())
        self.refuse(lists.counts_Q != shown.counts_Q, f"have not one of {name} for each of label_ids")
        values_N = np.asarray(lists.values)
        wild_N = ~(np.abs(values_N) <= LARGEST)
        self.refuse_elements(lists, wild_N, f"among {name} is no usable number, in", error=NonFiniteError)
        if name in CHANCES:
            no_chance_N = (values_N <= 0) | (values_N > 1)
            self.refuse_elements(lists, no_chance_N, f"among {name} is not above 0 and at most 1, in", hint=CHANCE_HINT)
        return values_N

    def refuse(self, bad_Q: Array, what: str) -> None:
        """Raise DataError for the rows marked, if any."""
        if bad_Q.any():
            found = np.flatnonzero(bad_Q)
            raise DataError(f"{self._source}: {counted_that(len(found), 'row', what)}: {self._named(found)}.")

    def refuse_elements(
        self, lists: Lists, bad_N: Array, what: str, *, hint: str = "", error: type[DataError] = DataError
    ) -> None:
        """Raise for the elements marked, if any, naming the first by value and the rows of all."""
        if bad_N.any():
            found = np.flatnonzero(bad_N)
            rows = np.unique(lists.rows_N[found])
            value = lists.values[int(found[0])].as_py()
            raise error(f"{self._source}: {value!r} {what} {self._named(rows)}.", hint=hint)

    def _named(self, rows: Array) -> str:
        return first_few(rows.tolist(), lambda row: f"row {row} ('{self.ids[row]}')")


def _strings(column: Any) -> Any:
    return column.cast(pa.large_string()).combine_chunks().fill_null("")
