"""What answers in a run, by the SHA-256 of its parts, and the earlier indexes whose place its index has taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmc.retrieve.label_edits import LabelEdits


@dataclass(frozen=True)
class Lineage:
    """Earlier indexes of the same labels, edits aside, by SHA-256; it is kept in the description of an index.

    From those of `same_scores` an estimate made of scores goes on: a label scores as it did. From those of
    `same_answers`, which are among them, a promise goes on too: over equal labels the answers are equal.

    >>> Lineage(("a",), ("a",)).to_dict()
    {'same_scores': ['a'], 'same_answers': ['a']}
    """

    same_scores: tuple[str, ...] = ()
    same_answers: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list[str]]:
        """Plain values."""
        return {name: list(shas) for name, shas in asdict(self).items()}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Lineage:
        """What the description of an index says; those that xmc wrote before it kept lineages say nothing."""
        return cls(tuple(description.get("same_scores", ())), tuple(description.get("same_answers", ())))


@dataclass(frozen=True, eq=False)
class Answering:
    """The `identity` of a retriever, the edits of its labels and the lineage of its index."""

    identity: Mapping[str, str]
    edits: LabelEdits
    lineage: Lineage
