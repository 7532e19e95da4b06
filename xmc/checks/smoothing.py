"""Randomised smoothing: certificates for any encoder, by scoring random rewritings of a text instead of the text.

The smoothed score is g(x) = E[(1 + cos(e(r(x)), v)) / 2], r replaces every word by a uniform draw from its perturbation
set P(w), which holds w. For one substitution w -> w' the two draws differ in total variation by 1 - overlap(w, w'), so
|g(x') - g(x)| <= 1 - Π over the R least overlaps, for every x' within R substitutions. g itself is known from samples
up to Hoeffding's bound. A list that is not certified is not thereby shown to be fragile.

Reference: Wu et al., Certified Robustness to Word Substitution Ranking Attack for Neural Ranking Models, CIKM 2022;
perturbation sets as in Ye et al., SAFER, ACL 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.checks.additive import radius_of
from xmc.checks.text_edits import Floats
from xmc.substitutions.word_sets import Substitutions, replaced

TEXTS_AT_ONCE = 2048


@dataclass(frozen=True, eq=False)
class Perturbations:
    """The perturbation set of each word: the word and its substitutes.

    >>> some = Perturbations(Substitutions({"car": ("auto",), "auto": ("car",)}))
    >>> some.words("car"), some.overlap("car"), some.words("sea")
    (('car', 'auto'), 1.0, ('sea',))
    """

    substitutions: Substitutions

    def words(self, word: str) -> tuple[str, ...]:
        """P(word)."""
        return (word, *self.substitutions.of_word.get(word, ()))

    def overlap(self, word: str) -> float:
        """The least overlap of P(word) with that of a substitute, |P ∩ P'| / max(|P|, |P'|); 1 for a fixed word."""
        if word not in self._overlaps:
            own = set(self.words(word))
            others = [set(self.words(other)) for other in self.words(word)[1:]]
            self._overlaps[word] = min((len(own & other) / max(len(own), len(other)) for other in others), default=1.0)
        return self._overlaps[word]

    @cached_property
    def _overlaps(self) -> dict[str, float]:
        return {}

    def variation(self, text: str, radius: int) -> float:
        """How much g may change within `radius` substitutions (0 = all words): 1 − Π of the least overlaps.

        >>> some = Perturbations(Substitutions({"car": ("auto",)}))
        >>> some.variation("car and car", 1), some.variation("car and car", 0), some.variation("sea", 1)
        (0.5, 0.75, 0.0)
        """
        overlaps = sorted(self.overlap(site.word) for site in self.substitutions.sites(text))
        return 1.0 - math.prod(overlaps[: radius_of(radius, len(overlaps))])

    def draw(self, text: str, samples: int, generator: np.random.Generator) -> list[str]:
        """Random rewritings r(x)."""
        sites = self.substitutions.sites(text)
        if not sites:
            return [text] * samples
        sizes = np.array([1 + len(site.substitutes) for site in sites])
        choices = (generator.random((samples, len(sites))) * sizes).astype(int)
        return [
            replaced(text, [(site, site.substitutes[one - 1]) for site, one in zip(sites, row, strict=True) if one])
            for row in choices.tolist()
        ]


def smoothed_vectors(
    texts: Sequence[str],
    perturbations: Perturbations,
    embed: Callable[[Sequence[str]], Tensor],
    *,
    samples: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """The mean unit embedding of `samples` rewritings of each text, (N, D): (1 + its product with v) / 2 estimates g.

    A text draws from a generator of its own, so that the order of the texts makes no difference.
    """
    means: list[Tensor] = []
    group: list[str] = []
    at_once = max(1, TEXTS_AT_ONCE // samples)
    for row, text in enumerate(texts):
        group += perturbations.draw(text, samples, np.random.default_rng([seed, row]))
        if (row + 1) % at_once == 0 or row + 1 == len(texts):
            units = torch.nn.functional.normalize(embed(group).double(), dim=1)
            means.append(units.reshape(-1, samples, units.shape[1]).mean(dim=1).float())
            group = []
            progress(row + 1, len(texts))
    return torch.cat(means)


def half_width(samples: int, confidence: float, items: int) -> float:
    """Hoeffding: with probability `confidence`, `items` means of `samples` values in [0, 1] are all this close to g.

    >>> round(half_width(1000, 0.95, 1), 4)
    0.0429
    """
    return math.sqrt(math.log(2 * items / (1 - confidence)) / (2 * samples))


def smoothed_scores(queries_QD: Tensor, labels_CD: Tensor) -> Tensor:
    """(1 + product) / 2 of unit or mean unit vectors, (Q, C)."""
    return (1 + queries_QD @ labels_CD.T) / 2


def certified_against_queries(
    scores_QL: Floats, variations_Q: Floats, width: float, ks: Sequence[int]
) -> NDArray[np.bool_]:
    """Whether no allowed edit of the query changes the first k of the smoothed ranking, (Q, N).

    Both sides of the list's edge may move: lower(g of the k-th) − Q > upper(g of the next) + Q.
    """
    ordered_QL = -np.sort(-scores_QL, axis=1)
    certified = []
    for k in ks:
        if k >= scores_QL.shape[1]:
            certified.append(np.ones(len(scores_QL), dtype=bool))
        else:
            certified.append(ordered_QL[:, k - 1] - ordered_QL[:, k] > 2 * (width + variations_Q))
    return np.stack(certified, axis=1)


def certified_against_labels(
    scores_QL: Floats, variations_L: Floats, width: float, ks: Sequence[int]
) -> NDArray[np.bool_]:
    """Whether no label from outside enters the first k when its text is edited: upper(g) + Q < lower(g of the k-th)."""
    order_QL = np.argsort(-scores_QL, axis=1, kind="stable")
    ordered_QL = np.take_along_axis(scores_QL, order_QL, axis=1)
    lifted_QL = ordered_QL + variations_L[order_QL]
    certified = []
    for k in ks:
        if k >= scores_QL.shape[1]:
            certified.append(np.ones(len(scores_QL), dtype=bool))
        else:
            certified.append(lifted_QL[:, k:].max(axis=1) + 2 * width < ordered_QL[:, k - 1])
    return np.stack(certified, axis=1)
