"""Randomised smoothing: certificates for any encoder, by ranking random rewritings of a text instead of the text.

r replaces every word by a uniform draw from its perturbation set P(w), which holds w; all are in lower case, as
attackers write. For one substitution w -> w' the two draws differ in total variation by 1 - overlap(w, w'). So for
every function f of a text with values in [0, 1], g(x) = E[f(r(x))] changes by Q = 1 - Π over the R least overlaps at
most, for every x' within R substitutions.

A label under attack has f = (1 + cos(e(r(x)), v)) / 2, a query under attack has a vote for each label: f is 1 where the
label is among the first k for r(x). g itself is known from samples, up to Hoeffding's bound, and for votes, which are
mostly near 0 or 1, up to the narrower one of Clopper and Pearson. A list that is not certified is not thereby fragile.
With Q of a half or more no list of votes can be certified, however many samples are drawn.

Reference: Wu et al., Certified Robustness to Word Substitution Ranking Attack for Neural Ranking Models, CIKM 2022;
votes and perturbation sets as in Ye et al., SAFER, ACL 2020.
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
    """The perturbation set of each word: the word, its substitutes, and theirs, so many `steps` far.

    More steps make the sets of a word and its substitutes more alike, and rewritings less like the text.

    >>> some = Perturbations(Substitutions({"car": ("auto",), "auto": ("car",)}))
    >>> some.words("car"), some.overlap("car"), some.words("sea")
    (('car', 'auto'), 1.0, ('sea',))
    """

    substitutions: Substitutions
    steps: int = 1

    def words(self, word: str) -> tuple[str, ...]:
        """P(word), the word first."""
        if word not in self._sets:
            found = newest = dict.fromkeys([word])
            for _ in range(self.steps):
                others = (other for one in newest for other in self.substitutions.of_word.get(one, ()))
                newest = dict.fromkeys(other for other in others if other not in found)
                found = found | newest
            self._sets[word] = tuple(found)
        return self._sets[word]

    def overlap(self, word: str) -> float:
        """The least overlap of P(word) with that of a substitute, |P ∩ P'| / max(|P|, |P'|); 1 for a fixed word."""
        if word not in self._overlaps:
            own = set(self.words(word))
            others = [set(self.words(other)) for other in self.substitutions.of_word.get(word, ())]
            self._overlaps[word] = min((len(own & other) / max(len(own), len(other)) for other in others), default=1.0)
        return self._overlaps[word]

    @cached_property
    def _sets(self) -> dict[str, tuple[str, ...]]:
        return {}

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
        """Random rewritings r(x): at every site a word of its set in lower case, however the text has it.

        So a text and an attacked one draw from the same strings where their sets are equal, and an encoder that tells
        capital letters apart cannot tell which of the two was drawn from.

        >>> some = Perturbations(Substitutions({"car": ("auto",)}))
        >>> sorted(set(some.draw("Car", 20, np.random.default_rng(0))))
        ['auto', 'car']
        """
        sites = self.substitutions.sites(text)
        if not sites:
            return [text] * samples
        sets = [self.words(site.word) for site in sites]
        choices = (generator.random((samples, len(sites))) * [len(words) for words in sets]).astype(int)
        return [
            replaced(text, [(site, words[one]) for site, words, one in zip(sites, sets, row, strict=True)])
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


@dataclass(frozen=True)
class Votes:
    """How often labels are among the first k of `samples` rewritings: `label_rows` by falling `counts`, then by row."""

    label_rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    samples: int

    @classmethod
    def of(cls, answers: Sequence[NDArray[np.int64]], k: int) -> Votes:
        """Count the first k of each answer; a label without a vote is left out.

        >>> Votes.of([np.array([3, 1]), np.array([3, 2]), np.array([2, 3])], 1).counts.tolist()
        [2, 1]
        """
        label_rows, counts = np.unique(np.concatenate([answer[:k] for answer in answers]), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return cls(label_rows[order].astype(np.int64), counts[order], len(answers))

    def certified(self, k: int, variation: float, *, labels: int, confidence: float) -> bool:
        """Whether every text within `variation` of this one has the same first k labels by expected votes.

        lower(g of the k-th) − Q > upper(g of the next) + Q, with bounds that hold for all `labels` at once.
        """
        if k >= labels:
            return True
        tail = (1 - confidence) / (2 * labels)
        following = int(self.counts[k]) if len(self.counts) > k else 0
        low = least_share(int(self.counts[k - 1]), self.samples, tail)
        high = 1 - least_share(self.samples - following, self.samples, tail)
        return low - variation > high + variation


def least_share(count: int, samples: int, tail: float) -> float:
    """Clopper-Pearson: a true share below this would give `count` of `samples` or more with probability < `tail`.

    >>> round(least_share(100, 100, 0.05), 4), least_share(0, 100, 0.05)
    (0.9705, 0.0)
    """
    from scipy.stats import beta

    return float(beta.ppf(tail, count, samples - count + 1)) if count else 0.0


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
