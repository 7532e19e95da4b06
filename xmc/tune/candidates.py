"""Which builds of which installed backends are worth measuring; backends are known by what they offer, not by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xmc.errors import XmcError
from xmc.index_contract import IndexBackend
from xmc.plugin_manager import Offer
from xmc.specs import IndexSpec


@dataclass(frozen=True)
class Candidate:
    """A backend with options, what it would hold in memory, and whether it promises exact answers."""

    name: str
    backend: IndexBackend
    estimated_bytes: int
    exact: bool = False

    def __str__(self) -> str:
        """The name, with the options that are not the backend's defaults."""
        backend: Any = self.backend
        fields = [field for field in dataclasses.fields(backend) if getattr(backend, field.name) != field.default]
        shown = ", ".join(f"{field.name} {getattr(backend, field.name)}" for field in fields)
        return self.name + (f" ({shown})" if shown else "")


def find_candidates(offers: Sequence[Offer], *, labels: int, dimension: int) -> tuple[list[Candidate], list[str]]:
    """The proposals of every backend that makes some, exact ones first, and a sentence for each backend that cannot.

    A backend without `proposals` is left out in silence: it was not made to be chosen by goal.
    """
    candidates: list[Candidate] = []
    refusals: list[str] = []
    for offer in sorted(offers, key=lambda offer: not _is_exact(offer)):
        try:
            candidates += _proposals(offer, offer.load(), labels, dimension)
        except XmcError as error:
            refusals.append(f"'{offer.full_name}' was left out: {error}")
    return candidates, refusals


def _proposals(offer: Offer, backend_class: Any, labels: int, dimension: int) -> list[Candidate]:
    if not hasattr(backend_class, "proposals"):
        return []
    backends = backend_class.proposals(labels=labels, dimension=dimension)
    sizes = [backend.estimated_bytes(labels=labels, dimension=dimension) for backend in backends]
    return [Candidate(offer.full_name, *pair, _is_exact(offer)) for pair in zip(backends, sizes, strict=True)]


def _is_exact(offer: Offer) -> bool:
    return isinstance(offer.spec, IndexSpec) and offer.spec.exact
