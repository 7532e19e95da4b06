"""Certified top k of one query under word substitutions: which lists cannot change, which labels cannot leave.

Shapes: T radii, N values of k, K the largest k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xmc.checks.additive import AdditiveTexts
from xmc.checks.comparison import Comparison
from xmc.checks.label_matrix import LabelMatrix
from xmc.checks.rounding import NotCertifiedError
from xmc.checks.variants import variant_count
from xmc.checks.worst_case import AdditiveWorst, ListedWorst, WorstCase
from xmc.substitutions.word_sets import Site, Substitutions


@dataclass(frozen=True)
class Witness:
    """An attack on one list: the text, and the pair of label rows whose order it turns round, or brings to a tie.

    `exact` says that the text is the worst one for this pair, not only the worst of a model of it.
    """

    text: str
    falls: int
    rises: int
    exact: bool


@dataclass(frozen=True)
class QueryCertificate:
    """What is proved of a query. Radii and k in the order of the options.

    `lists_TN`: no allowed edit changes which labels are the first k. `rivals_TK`: of each of the first K labels, how
    many others an allowed edit may bring above it: with fewer than k it cannot leave the top k. `witnesses` holds an
    attack for each list that is not certified; `compared` is how many labels had to be compared in pairs.
    """

    lists_TN: NDArray[np.bool_]
    rivals_TK: NDArray[np.int64]
    witnesses: dict[tuple[int, int], Witness]
    compared: int

    def lost(self, rows: Sequence[int], largest_k: int) -> QueryCertificate | None:
        """The same for other, larger radii, where the last radius here proves nothing; else None."""
        if self.lists_TN[-1].any() or (self.rivals_TK[-1] < largest_k).any():
            return None
        last = max(row for row, _ in self.witnesses)  # each of its lists has a witness, which larger radii allow too
        witnesses = {
            (row, column): witness for row in rows for (at, column), witness in self.witnesses.items() if at == last
        }
        lists_TN, rivals_TK = self.lists_TN[-1:].repeat(len(rows), 0), self.rivals_TK[-1:].repeat(len(rows), 0)
        return QueryCertificate(lists_TN, rivals_TK, witnesses, self.compared)


@dataclass(eq=False)
class QueryCertifier:
    """Certifies queries one at a time; every label is either compared or too low for any allowed edit to matter.

    `texts` is the additive form of the queries, None for an encoder without one; then, and where it is not exact,
    queries with at most `listed` allowed texts are certified by embedding them all with `embed`. `radii` rise, 0 (all
    sites) is the last.
    """

    texts: AdditiveTexts | None
    substitutions: Substitutions
    labels: LabelMatrix
    embed: Callable[[Sequence[str]], Tensor]
    ks: Sequence[int]
    radii: Sequence[int]
    listed: int = 256

    def certify(self, text: str, label_rows: NDArray[np.int64]) -> QueryCertificate | None:
        """The certificates of a text whose first labels are `label_rows`: as many as the largest k, or all there are.

        Naive: embed every allowed text, search it, and see whether its first k labels are the same set.
        None for a text of which nothing can be said: too many variants to list at every radius, and no sum over words,
        or vectors near the end of what an index takes.
        """
        sites = self.substitutions.sites(text)
        if not sites:
            return self._unchanging(min(len(label_rows), max(self.ks)))
        parts: list[QueryCertificate] = []
        try:
            for rows, listed in self._plan(sites):
                # where a smaller radius leaves nothing to prove, neither does a larger one
                lost = parts[-1].lost(rows, max(self.ks)) if parts else None
                parts.append(lost or self._certify(self._worst(text, sites, rows, listed), rows, label_rows))
        except NotCertifiedError:
            if not parts:
                return None
            parts.append(self._nothing(sum(len(part.lists_TN) for part in parts), len(label_rows)))
        return QueryCertificate(
            np.concatenate([part.lists_TN for part in parts]),
            np.concatenate([part.rivals_TK for part in parts]),
            {key: witness for part in parts for key, witness in part.witnesses.items()},
            max(part.compared for part in parts),
        )

    def _unchanging(self, leading: int) -> QueryCertificate:
        """For a text that nobody may edit: its list stays, however near to each other the scores lie."""
        lists_TN = np.ones((len(self.radii), len(self.ks)), dtype=bool)
        return QueryCertificate(lists_TN, np.arange(leading)[None].repeat(len(self.radii), 0), {}, 0)

    def _nothing(self, known: int, leading: int) -> QueryCertificate:
        """For the radii after the first `known`: no list is certified, and every label may leave."""
        rest = len(self.radii) - known
        rivals_TK = np.full((rest, min(leading, max(self.ks))), len(self.labels))
        return QueryCertificate(np.zeros((rest, len(self.ks)), dtype=bool), rivals_TK, {}, 0)

    def _plan(self, sites: Sequence[Site]) -> list[tuple[list[int], bool]]:
        """Which radii (rows of `self.radii`) are treated together, and whether by listing all texts."""
        exact = self.texts is not None and self.texts.exact
        counts = [variant_count(sites, radius) for radius in self.radii]
        short = [row for row, count in enumerate(counts) if count <= self.listed and not exact]
        long = [row for row in range(len(counts)) if row not in short]
        apart = [[row] for row in long] if self.texts and self.texts.by_radius else [long]
        return [(rows, rows is short) for rows in [short, *apart] if rows]

    def _worst(self, text: str, sites: Sequence[Site], rows: list[int], listed: bool) -> WorstCase:
        radii, label_norms = [self.radii[row] for row in rows], self.labels.longest
        if listed:
            return ListedWorst(text, sites, radii, self.embed, label_norms=label_norms)
        if self.texts is None:
            raise NotCertifiedError("the encoder is not a sum over words")
        return AdditiveWorst(text, self.texts.edits(text, sites, radii[0]), radii, label_norms=label_norms)

    def _certify(self, worst: WorstCase, rows: list[int], label_rows: NDArray[np.int64]) -> QueryCertificate:
        comparison = Comparison(worst, self.labels, label_rows, self.ks)
        compared = comparison.run()
        witnesses = {}
        for (row, column), (_, falls, rises) in comparison.weakest.items():
            attack = worst.witness(row, self.labels.labels_LD[falls], self.labels.labels_LD[rises])
            witnesses[rows[row], column] = Witness(attack, falls, rises, worst.exact)
        return QueryCertificate(comparison.lists_TN, comparison.rivals_TK, witnesses, compared)
