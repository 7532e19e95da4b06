"""A filter by an order, above or below a number or text: a range of the values under a key, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Any

from xmc.errors import ConfigError
from xmc.retrieve.metadata_column import kind_of

if TYPE_CHECKING:
    from xmc.retrieve.metadata_column import Mask
    from xmc.retrieve.metadata_columns import MetadataColumns
    from xmc.values import Passage

ORDERS: dict[str, Callable[[Any, Any], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}


@dataclass(frozen=True)
class Compared:
    """What stands under `key` is above or below a number or text; nothing is where nothing stands.

    >>> from xmc.values import Passage
    >>> [Compared("year", "$gt", 2020)(Passage("a", "apple", kept)) for kept in ({"year": 2021}, {"year": 2020}, {})]
    [True, False, False]
    """

    key: str
    operator: str  # of ORDERS
    operand: int | float | str

    @property
    def name(self) -> str:
        """The comparison."""
        return repr((self.key, self.operator, self.operand))

    def __call__(self, passage: Passage) -> bool:
        """Whether the filter keeps this passage. Raises: ConfigError for a value that cannot be compared."""
        return self.holds(passage.metadata.get(self.key))

    def kept(self, among_L: Mask, columns: MetadataColumns) -> Mask:
        """Those among these with such a value. Raises: ConfigError for one that cannot be compared."""
        column, kind = columns.column(self.key), kind_of(self.operand)
        first = column.first(self.operand, kind, after=self.operator in ("$gt", "$lte"))
        start, stop = column.start(kind), column.stops[kind]
        if start or stop < len(column.values):  # what is of another kind is refused where it is asked for
            strange_N = (column.places_N < start) | (column.places_N >= stop)
            column.held(among_L[column.rows] & strange_N, self.holds)
        start, stop = (first, stop) if self.operator in ("$gt", "$gte") else (start, first)
        return among_L & column.marks((column.places_N >= start) & (column.places_N < stop))

    def holds(self, value: Any) -> bool:
        """Whether a value stands so to the operand. Raises: ConfigError for one that cannot be compared."""
        if value is None:
            return False
        try:
            return ORDERS[self.operator](value, self.operand)
        except TypeError as error:
            raise ConfigError(
                f"{self.operator} {self.operand!r:.60} cannot be asked of {value!r:.60}, which a passage has under "
                f"'{self.key}': {error}.",
                hint="Leave such passages out by a key before it, or give them another value.",
            ) from error
