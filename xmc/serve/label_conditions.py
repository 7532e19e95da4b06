"""Which labels a search may answer with: conditions on label ids and metadata, and what they come to in a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from xmc.retrieve import metadata_filters
from xmc.retrieve.label_filter import LabelFilter, make_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xmc.retrieve.metadata_filters import LookedUp
    from xmc.retrieve.passages_now import PassagesNow

MOST_CONDITIONS = 100  # in one request: each is looked up in the whole label table, or in all metadata


@dataclass(frozen=True)
class Ids:
    """The labels with one of these ids; `strict` says that each must be there."""

    ids: tuple[str, ...]
    strict: bool = False


@dataclass(frozen=True)
class Metadata:
    """The labels that a filter on metadata keeps; `name` is that of the filter."""

    name: str
    keep: LookedUp = field(compare=False)

    @classmethod
    def of(cls, keep: LookedUp) -> Metadata:
        """Those that this filter keeps."""
        return cls(keep.name, keep)


@dataclass(frozen=True)
class Not:
    """All labels but those."""

    condition: Condition


@dataclass(frozen=True)
class Joined:
    """The labels that meet all of the conditions (`and`), or one of them (`or`)."""

    by: Literal["and", "or"]
    conditions: tuple[Condition, ...]


Condition = Ids | Metadata | Not | Joined


def joined(by: Literal["and", "or"], conditions: Sequence[Condition]) -> Condition:
    """Several conditions as one; those on metadata as one filter, whose parts go by what earlier ones let through."""
    filters = tuple(condition.keep for condition in conditions if isinstance(condition, Metadata))
    parts: list[Condition] = [condition for condition in conditions if not isinstance(condition, Metadata)]
    if filters:
        parts.append(Metadata.of(metadata_filters.Joined(by, filters)))
    return parts[0] if len(parts) == 1 else Joined(by, tuple(parts))


def filter_of(condition: Condition | None, now: PassagesNow) -> LabelFilter | None:
    """The condition looked up in the labels that there are, and in what is kept beside them; None for none.

    Raises: DataError for a label of strict `Ids` that is not there; ConfigError for values that cannot be compared.
    """
    if condition is None:
        return None
    if isinstance(condition, Ids | Metadata):
        return _looked_up(condition, now)
    return LabelFilter(np.flatnonzero(_meets(condition, now)), now.searcher.labels)


def _looked_up(condition: Ids | Metadata, now: PassagesNow) -> LabelFilter:
    if isinstance(condition, Ids):
        return make_filter(now.searcher.labels, condition.ids, ignore_unknown=not condition.strict)
    found = now.kept(condition.keep)
    if found is None:
        raise AssertionError("what came as JSON can be looked up")
    return found


def _meets(condition: Condition, now: PassagesNow) -> NDArray[np.bool_]:
    """Whether each label meets the condition, (L,)."""
    if isinstance(condition, Not):
        return ~_meets(condition.condition, now)
    if isinstance(condition, Joined):
        join = np.logical_and if condition.by == "and" else np.logical_or
        first, *others = condition.conditions
        joined_L = _meets(first, now)
        for other in others:  # one at a time: together they would need memory for each
            join(joined_L, _meets(other, now), out=joined_L)
        return joined_L
    meets_L = np.zeros(len(now.searcher.labels), dtype=bool)
    meets_L[_looked_up(condition, now).label_rows] = True
    return meets_L
