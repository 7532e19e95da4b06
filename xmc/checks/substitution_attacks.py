"""Attackers that try: what they break is broken, so they bound from above how robust a ranker can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xmc.checks.additive import radius_of
from xmc.checks.text_edits import Floats
from xmc.substitutions.word_sets import Site, Substitutions, replaced

Answers = Sequence[tuple[int, np.ndarray[Any, np.dtype[np.int64]]]]


def random_attack(text: str, sites: Sequence[Site], radius: int, generator: np.random.Generator) -> str:
    """The text with a random substitute at as many random sites as the radius allows (0 = all).

    >>> random_attack("a car", [Site(2, 5, "car", ("auto",))], 1, np.random.default_rng(0))
    'a auto'
    """
    chosen = generator.permutation(len(sites))[: radius_of(radius, len(sites))]
    words = [sites[place].substitutes[int(generator.integers(len(sites[place].substitutes)))] for place in chosen]
    return replaced(text, [(sites[place], word) for place, word in zip(chosen.tolist(), words, strict=True)])


def greedy_attack(
    text: str,
    sites: Sequence[Site],
    steps: int,
    objective: Callable[[Sequence[str]], Floats],
    *,
    width: int,
    generator: np.random.Generator,
) -> list[str]:
    """One text after each of `steps` steps; a step makes the one substitution that lowers `objective` the most.

    At most `width` substitutions, drawn at random, are tried in a step. `objective` takes texts and gives (N,). Ends
    early when there is no site left.
    """
    changed: dict[int, str] = {}
    found: list[str] = []
    for _ in range(min(steps, len(sites))):
        options = [
            (place, word) for place in range(len(sites)) if place not in changed for word in sites[place].substitutes
        ]
        picked = generator.permutation(len(options))[:width].tolist()
        texts = [
            replaced(text, [(sites[at], word) for at, word in {**changed, options[one][0]: options[one][1]}.items()])
            for one in picked
        ]
        best = int(np.argmin(objective(texts)))
        changed[options[picked[best]][0]] = options[picked[best]][1]
        found.append(texts[best])
    return found


class QueryAttacker:
    """Rewrites queries at random and greedily, and searches what it wrote.

    `search(texts, k)` gives the first k label rows of each text, `score(texts, label_rows)` the scores (N, C).
    """

    def __init__(
        self,
        substitutions: Substitutions,
        search: Callable[[Sequence[str], int], list[np.ndarray[tuple[int], np.dtype[np.int64]]]],
        score: Callable[[Sequence[str], Sequence[int]], Floats],
        ks: Sequence[int],
        radii: Sequence[int],
    ) -> None:
        self.substitutions, self.search, self.score = substitutions, search, score
        self.ks, self.radii = ks, radii

    def random(self, text: str, count: int, generator: np.random.Generator) -> list[tuple[int, str]]:
        """`count` attacks for each radius, as (number of the radius, text)."""
        sites = self.substitutions.sites(text)
        rows = range(len(self.radii)) if sites else ()
        return [(row, random_attack(text, sites, self.radii[row], generator)) for row in rows for _ in range(count)]

    def greedy(
        self, text: str, label_rows: Sequence[int], width: int, generator: np.random.Generator
    ) -> list[tuple[int, str]]:
        """For each k an attack on the edge of its list: label k + 1 is to come before label k; at most 3 steps."""
        sites = self.substitutions.sites(text)
        found = []
        for k in self.ks:
            if k < len(label_rows) and sites:
                pair = [int(label_rows[k - 1]), int(label_rows[k])]

                def gap(texts: Sequence[str], pair: list[int] = pair) -> Floats:
                    scores_N2 = self.score(texts, pair)
                    return np.asarray(scores_N2[:, 0] - scores_N2[:, 1])

                steps = greedy_attack(text, sites, max(3, *self.radii), gap, width=width, generator=generator)
                for done, attacked in enumerate(steps, start=1):
                    found += [(row, attacked) for row, radius in enumerate(self.radii) if radius in (0, done)]
        return found

    def answers(self, attacks: Sequence[tuple[int, str]]) -> list[tuple[int, np.ndarray[Any, np.dtype[np.int64]]]]:
        """The first label rows of each attack, with the number of its radius."""
        found = self.search([text for _, text in attacks], max(self.ks)) if attacks else []
        return [(row, answer) for (row, _), answer in zip(attacks, found, strict=True)]

    def broken(self, answers: Answers, label_rows: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which lists some attack changed, (radii, ks). What breaks a list breaks it at every larger radius too."""
        broken_TN = np.zeros((len(self.radii), len(self.ks)), dtype=bool)
        for row, answer in answers:
            for column, k in enumerate(self.ks):
                broken_TN[row:, column] |= set(answer[:k].tolist()) != set(label_rows[:k])
        return broken_TN

    def lowest_ranks(self, answers: Answers, label_rows: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The lowest rank (from 0) that some attack brought each leading label to, (radii, K); K for not among K."""
        lowest_TK = np.zeros((len(self.radii), len(label_rows)), dtype=np.int64)
        for row, answer in answers:
            is_it_KK = np.asarray(label_rows)[:, None] == answer[: len(label_rows)]
            ranks_K = np.where(is_it_KK.any(axis=1), is_it_KK.argmax(axis=1), len(label_rows))
            lowest_TK[row:] = np.maximum(lowest_TK[row:], ranks_K)
        return lowest_TK
