"""Which labels a search may answer with: conditions on label ids, and what they come to in a label table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from xmc.retrieve.label_filter import LabelFilter, make_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xmc.data.tables import LabelTable


@dataclass(frozen=True)
class Ids:
    """The labels with one of these ids; `strict` says that each must be there."""

    ids: tuple[str, ...]
    strict: bool = False


@dataclass(frozen=True)
class Not:
    """All labels but those."""

    condition: Condition


@dataclass(frozen=True)
class Joined:
    """The labels that meet all of the conditions (`and`), or one of them (`or`)."""

    by: Literal["and", "or"]
    conditions: tuple[Condition, ...]


Condition = Ids | Not | Joined


def filter_of(condition: Condition | None, labels: LabelTable) -> LabelFilter | None:
    """The condition looked up in a label table, None for none.

    Raises: DataError for a label of strict `Ids` that is not there.

    >>> from xmc.data.tables import LabelTable
    >>> table = LabelTable(["a", "b", "c"], ["", "", ""])
    >>> filter_of(Not(Ids(("b",))), table).label_rows.tolist()
    [0, 2]
    """
    if condition is None:
        return None
    if isinstance(condition, Ids):
        return make_filter(labels, condition.ids, ignore_unknown=not condition.strict)
    return LabelFilter(np.flatnonzero(_meets(condition, labels)), labels)


def _meets(condition: Condition, labels: LabelTable) -> NDArray[np.bool_]:
    """Whether each label meets the condition, (L,)."""
    if isinstance(condition, Not):
        return ~_meets(condition.condition, labels)
    if isinstance(condition, Joined):
        join = np.logical_and if condition.by == "and" else np.logical_or
        first, *others = condition.conditions
        joined_L = _meets(first, labels)
        for other in others:  # one at a time: together they would need memory for each
            join(joined_L, _meets(other, labels), out=joined_L)
        return joined_L
    meets_L = np.zeros(len(labels), dtype=bool)
    meets_L[make_filter(labels, condition.ids, ignore_unknown=not condition.strict).label_rows] = True
    return meets_L
