"""What a table of queries holds: an id and a text or an embedding a row, and of rows without a usable one, why.

Shapes: N rows of a batch, U of them usable, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xmc.counted import counted
from xmc.data.arrow_ipc import plain_categories
from xmc.data.schemas import is_text
from xmc.errors import DataError
from xmc.retrieve.query_checks import MAX_TEXT_CHARACTERS
from xmc.vectors import MAX_NORM

if TYPE_CHECKING:
    from torch import Tensor

OK = "ok"
NULL = "null"
BLANK = "blank"
TOO_LONG = "too-long"
INVALID_TEXT = "invalid-text"
NOT_FINITE = "not-finite"
WRONG_WIDTH = "wrong-width"
NO_MATCH = "no-match"  # searched; see `xmc.retrieve.no_match`
STATUSES = (OK, NO_MATCH, NULL, BLANK, TOO_LONG, INVALID_TEXT, NOT_FINITE, WRONG_WIDTH)
ID_COLUMNS = ("query_id", "id")
QUERY_COLUMNS = ("text", "embedding")
TEXTS = "string, large_string, string_view or a dictionary of these"
LISTS = "fixed_size_list, list or large_list"
CAST = "Write it with the column cast to one of these, to string, say."


@dataclass(frozen=True)
class QueryColumns:
    """Which columns of a table are the ids and the queries; a text goes before an embedding where both are there."""

    id_name: str
    id_type: Any
    query_name: str
    dimension: int

    @classmethod
    def of(cls, schema: Any, *, dimension: int, source: str = "the table") -> QueryColumns:
        """Find them in a schema; embeddings must have `dimension` numbers.

        Raises: DataError naming the source, the column, its type and what is allowed.
        """
        id_name = next((name for name in ID_COLUMNS if name in schema.names), "")
        query_name = next((name for name in QUERY_COLUMNS if name in schema.names), "")
        if not id_name or not query_name:
            missing = "query_id" if not id_name else "text"
            raise DataError(
                f"{source}: column '{missing}' is missing (it has: {', '.join(schema.names) or 'none'}).",
                hint="Queries need query_id, and text or embedding; a column of another name has to be renamed.",
            )
        for name in (id_name, query_name):
            if len(schema.get_all_field_indices(name)) > 1:
                raise DataError(f"{source}: several columns are named '{name}'.", hint="Keep one of them.")
        id_type = _id_type(schema.field(id_name).type, f"{source}: column '{id_name}'")
        type_ = schema.field(query_name).type
        if query_name == "text" and not (is_text(type_) or pa.types.is_null(type_)):
            raise DataError(f"{source}: column 'text' has type {type_}, allowed: {TEXTS}.", hint=CAST)
        if query_name == "embedding" and not _is_embedding(type_, dimension):
            raise DataError(
                f"{source}: column 'embedding' has type {type_}, allowed: {LISTS} of float16, float32 or "
                f"float64, with {counted(dimension, 'number')}, as this run's encoder makes them.",
                hint=f"Cast the column, to fixed_size_list<float32>[{dimension}], say.",
            )
        return cls(id_name, id_type, query_name, dimension)

    def ids(self, batch: Any) -> Any:
        """The ids, (N,), as they came; strings of any kind as `string`."""
        column = batch.column(self.id_name)
        return column if column.type == self.id_type else plain_categories(column).cast(self.id_type)

    def texts(self, batch: Any) -> tuple[list[str | None], list[str]]:
        """Every row's text (None where there is none to encode) and status, (N,) each."""
        texts = text_values(batch.column(self.query_name))
        statuses = [text_status(text) for text in texts]
        return texts, statuses

    def embeddings(self, batch: Any) -> tuple[Tensor, Any]:
        """The usable embeddings, (U, D) float32, and every row's status, (N,).

        Where all are float32 and usable nothing is copied: the tensor lies in Arrow's memory.
        """
        import torch

        column = batch.column(self.query_name)
        if _has_no_number(column.type):
            column = column.cast(pa.list_(pa.float32()))
        fitting_N = self._of_width(column)
        # null rows of a fixed size have places among the numbers
        whole = column if fitting_N.all() else column.filter(pa.array(fitting_N))
        numbers = whole.flatten()
        numbers = numbers.fill_null(float("nan")) if numbers.null_count else numbers
        vectors_ND = torch.utils.dlpack.from_dlpack(numbers).view(len(whole), self.dimension).float()
        usable_N = torch.linalg.vector_norm(vectors_ND, dim=1) <= MAX_NORM  # false for NaN and infinity too
        statuses = np.full(len(column), NULL, dtype=object)
        statuses[np.asarray(column.is_valid()) & ~fitting_N] = WRONG_WIDTH
        statuses[fitting_N] = np.where(usable_N.numpy(), OK, NOT_FINITE)
        return vectors_ND if bool(usable_N.all()) else vectors_ND[usable_N], statuses

    def _of_width(self, column: Any) -> np.ndarray[Any, Any]:
        """Which rows are there and have `dimension` numbers, (N,)."""
        return np.asarray(pc.fill_null(pc.equal(pc.list_value_length(column), self.dimension), False))


def text_status(text: str | bytes | None) -> str:
    """`ok`, or why no encoder can read this text: the rules of `Retriever.search`, as a word.

    >>> [text_status(text) for text in ("heart", None, " ", b"bad")]
    ['ok', 'null', 'blank', 'invalid-text']
    """
    if text is None:
        return NULL
    if isinstance(text, bytes):
        return INVALID_TEXT
    if not text.strip():
        return BLANK
    return TOO_LONG if len(text) > MAX_TEXT_CHARACTERS else OK


def text_values(column: Any) -> list[Any]:
    """Python strings of a text column, None for null, and bytes where they are not valid UTF-8."""
    if pa.types.is_null(column.type):  # so Arrow types a column without any value
        return [None] * len(column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = plain_categories(column).cast(pa.large_string())
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        binary = column.view(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        return [_decoded(value) for value in binary.to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def count_statuses(statuses: Sequence[str]) -> dict[str, int]:
    """How many rows have each status, those that occur, in the order of `STATUSES`.

    >>> count_statuses(["ok", "blank", "ok"])
    {'ok': 2, 'blank': 1}
    """
    counted = {row["values"]: row["counts"] for row in pc.value_counts(pa.array(statuses, pa.string())).to_pylist()}
    return {status: counted[status] for status in STATUSES if status in counted}


def _id_type(type_: Any, what: str) -> Any:
    if pa.types.is_integer(type_):
        return type_
    if is_text(type_) or pa.types.is_null(type_):  # so Arrow types a column without any value, of no rows, say
        return pa.string()
    raise DataError(f"{what} has type {type_}, allowed: {TEXTS}, or an integer.", hint=CAST)


def _is_embedding(type_: Any, dimension: int) -> bool:
    fixed = pa.types.is_fixed_size_list(type_) and type_.list_size == dimension
    is_list = fixed or pa.types.is_list(type_) or pa.types.is_large_list(type_)  # Spark and pandas write no fixed size
    is_numbers = is_list and type_.value_type in (pa.float16(), pa.float32(), pa.float64())
    return bool(is_numbers or _has_no_number(type_))


def _has_no_number(type_: Any) -> bool:
    """Whether Arrow saw no number when it typed the column: all rows null, empty, or lists of nulls."""
    is_list = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return bool(pa.types.is_null(type_) or (is_list and pa.types.is_null(type_.value_type)))
