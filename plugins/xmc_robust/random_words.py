"""Random substitutions: training on the texts that randomised smoothing draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmc.api import AugmentationContext, EpochModel, Substitutions, read_substitutions, replaced, require_share
from xmc_robust.draws import digest, generator_of


@dataclass(frozen=True)
class RandomWords:
    """In each epoch each word is redrawn with `probability`, uniformly from the word itself and its substitutes.

    `probability = 1` is the distribution of randomised smoothing, 0 changes nothing. `substitutions`: `counterfitted`,
    `wordnet` or a file, as for `xmc check certify`. Every encoder can be trained so; each query is prepared anew each
    time that it is visited.

    Reference: Ye, Gong, Liu, SAFER, ACL 2020, section 3.

    >>> rewriting = RandomWords(probability=1.0).build(AugmentationContext(["a fast car"], None))
    >>> [rewriting.rewrite(np.array([0]), epoch, None)[0] for epoch in (0, 0, 1)]
    ['a rapids automotive', 'a rapids automotive', 'a fast motorcars']
    """

    probability: float = 0.5
    substitutions: str = "counterfitted"

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        require_share(self, "probability")

    def build(self, context: AugmentationContext) -> RandomRewriting:
        """See `xmc.api.AugmentationOptions`. Raises: DataError for a set that cannot be read."""
        return RandomRewriting(context.texts, read_substitutions(self.substitutions), self.probability, context.seed)

    def fingerprint(self) -> str:
        """That of the substitution set."""
        return digest(read_substitutions(self.substitutions))


@dataclass(frozen=True, eq=False)
class RandomRewriting:
    """An `Augmentation` that replaces words at random."""

    texts: Sequence[str]
    substitutions: Substitutions
    probability: float
    seed: int
    needs_model: bool = False

    def rewrite(self, query_rows_N: np.ndarray[Any, Any], epoch: int, model: EpochModel | None) -> list[str]:
        """See `xmc.api.Augmentation`."""
        return [self._rewrite(row, epoch) for row in query_rows_N.tolist()]

    def _rewrite(self, query_row: int, epoch: int) -> str:
        text = self.texts[query_row]
        sites = self.substitutions.sites(text)
        if not sites:
            return text
        draws_S = generator_of(self.seed, epoch, query_row).random(len(sites))
        sizes_S = np.array([1 + len(site.substitutes) for site in sites])
        places = chosen_places(draws_S, sizes_S, self.probability).tolist()
        put = [(site, site.substitutes[place - 1]) for site, place in zip(sites, places, strict=True) if place]
        return replaced(text, put)


def chosen_places(
    draws_S: np.ndarray[Any, Any], sizes_S: np.ndarray[Any, Any], probability: float
) -> np.ndarray[Any, Any]:
    """From uniform draws in [0, 1) which of `size` words stands at each site; 0 is the word that stood there.

    Place p > 0 has the probability `probability` / size.

    >>> chosen_places(np.array([0.1, 0.3, 0.49, 0.5]), np.array([2, 2, 5, 2]), 0.5).tolist()
    [0, 1, 4, 0]
    """
    if probability == 0:
        return np.zeros(len(draws_S), dtype=np.int64)
    places_S = np.minimum(draws_S / probability * sizes_S, sizes_S).astype(np.int64)
    return np.where((draws_S < probability) & (places_S < sizes_S), places_S, 0)
