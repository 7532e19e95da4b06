"""Certified top k of queries when the text of one label outside is rewritten: which labels cannot enter.

Shapes: T radii, N values of k, Q queries, V variants of label texts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.checks.additive import AdditiveTexts
from xmc.checks.brute_force import row_norms
from xmc.checks.label_bound import LabelBound
from xmc.checks.rounding import NotCertifiedError, score_margins
from xmc.checks.text_edits import Floats
from xmc.checks.variants import variant_count, variants
from xmc.substitutions.word_sets import Site, Substitutions

TEXTS_AT_ONCE = 4096


@dataclass
class LabelCertificates:
    """What is proved of Q queries against rewriting one label at a time.

    `lists_TQN`: no label from outside can enter the first k. `entrants_TQN` counts the labels of which that is not
    proved, as long as there is something left to prove of the list; `strongest_TQN` is one of them (-1 where there is
    none), `exact_TL` says for which labels the answer is not a bound. Labels that could not be examined count as
    entrants everywhere; there are `unknown` of them.
    """

    entrants_TQN: NDArray[np.int64]
    strongest_TQN: NDArray[np.int64]
    exact_TL: NDArray[np.bool_]
    unknown: int = 0

    @property
    def lists_TQN(self) -> NDArray[np.bool_]:
        """Whether the list is certified."""
        return self.entrants_TQN == 0


@dataclass
class _Listed:
    """A label whose texts are listed: for some radii how many they are, fewer changes first, and for which lists."""

    row: int
    may_TQN: NDArray[np.bool_]
    counts: dict[int, int]
    texts: list[str]


@dataclass(eq=False)
class LabelCertifier:
    """Certifies all queries, label by label.

    First by the sum over words. What that leaves open is settled by embedding all rewritings of a label's text, if
    there are at most `listed` of them.
    `embed` gives label vectors as they are compared, of length 1 for cosine. `texts` is the additive form of the
    labels, None for an encoder without one.
    """

    texts: AdditiveTexts | None
    substitutions: Substitutions
    label_texts: Sequence[str]
    embed: Callable[[Sequence[str]], Tensor]
    radii: Sequence[int]
    listed: int = 256

    def certify(
        self,
        queries_QD: Tensor,
        scores_QN: Floats,
        ranks_of: Callable[[int], NDArray[np.int64]],
        ks: Sequence[int],
        *,
        first: Sequence[int] | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> LabelCertificates:
        """The certificates of queries whose k-th scores are `scores_QN` (-inf: the list has room for every label).

        Naive: for each label, embed every allowed text of it, and see whether its score comes to the k-th.
        `ranks_of(label_row)` are the ranks (from 0) of a label in the queries' lists, large where it is not there. The
        labels `first` (those next to the lists; None = all) are held against every list, the others against those that
        still stand.
        """
        shape = (len(self.radii), *scores_QN.shape)
        strongest = np.full(shape, -1, dtype=np.int64)
        found = LabelCertificates(
            np.zeros(shape, np.int64), strongest, np.ones((shape[0], len(self.label_texts)), bool)
        )
        excess_TQN = np.full(shape, -np.inf)
        batch: list[_Listed] = []
        waiting, first = 0, range(len(self.label_texts)) if first is None else first
        for done, row in enumerate([*first, *sorted({*range(len(self.label_texts))} - {*first})], start=1):
            sites = self.substitutions.sites(self.label_texts[row])
            if sites:  # a text that cannot change stays outside
                open_TQN = (found.entrants_TQN == 0) | (done <= len(first))
                open_TQN &= ranks_of(row)[:, None] >= np.asarray(ks)
                if open_TQN.any():
                    batch.append(self._bounded(row, sites, queries_QD, scores_QN, open_TQN, found))
                    waiting += len(batch[-1].texts)
            if done in (len(first), len(self.label_texts)) or waiting >= TEXTS_AT_ONCE:
                self._list(batch, queries_QD, scores_QN, found, excess_TQN)
                batch, waiting = [], 0
                progress(done, len(self.label_texts))
        return found

    def attack(self, row: int, place: int, query_D: Tensor, score: float) -> str:
        """The rewriting of label `row`, within radius number `place`, that lifts it the most for a query.

        Raises: NotCertifiedError where none is known.
        """
        text, radius = self.label_texts[row], self.radii[place]
        sites = self.substitutions.sites(text)
        if variant_count(sites, radius) <= self.listed:
            texts = list(variants(text, sites, radius))
            return texts[int((self.embed(texts) @ query_D).argmax())]
        if self.texts is None:
            raise NotCertifiedError("the encoder is not a sum over words")
        return LabelBound.of(self.texts, text, sites, [radius]).attack(query_D, score)

    def _bounded(
        self,
        row: int,
        sites: list[Site],
        queries_QD: Tensor,
        scores_QN: Floats,
        may_TQN: NDArray[np.bool_],
        found: LabelCertificates,
    ) -> _Listed:
        """What the sum over words leaves open: counted for long texts, to be listed for short ones."""
        text = self.label_texts[row]
        counts = [variant_count(sites, radius) for radius in self.radii]
        asked = np.flatnonzero(may_TQN.any(axis=(1, 2))).tolist()
        queries = np.flatnonzero(may_TQN.any(axis=(0, 2)))
        some_QD, some_QN = queries_QD[torch.from_numpy(queries)], scores_QN[queries]
        is_known = self.texts is not None
        try:
            if self.texts is not None:
                for places in [[place] for place in asked] if self.texts.by_radius else [asked]:
                    bound = LabelBound.of(self.texts, text, sites, [self.radii[place] for place in places])
                    may_TQN[np.array(places)[:, None], queries] &= bound.may_reach(some_QD, some_QN)
        except NotCertifiedError:
            is_known = False
        listed = _Listed(row, may_TQN, {}, [])
        for place, count in enumerate(counts):
            if count <= self.listed:
                if may_TQN[place].any():
                    listed.counts[place] = count - 1
            else:
                found.exact_TL[place, row] = self.texts is not None and self.texts.length == "tokens" and is_known
                found.unknown += not is_known
                found.entrants_TQN[place] += may_TQN[place]
                found.strongest_TQN[place][may_TQN[place]] = row
        if listed.counts:
            widest = self.radii[max(listed.counts)]
            listed.texts += list(variants(text, sites, widest))[1:]  # the text as it is does not enter
        return listed

    def _list(
        self,
        batch: Sequence[_Listed],
        queries_QD: Tensor,
        scores_QN: Floats,
        found: LabelCertificates,
        excess_TQN: Floats,
    ) -> None:
        texts = [text for one in batch for text in one.texts]
        if not texts:
            return
        vectors_VD = self.embed(texts)
        scores_QV = (queries_QD @ vectors_VD.T).numpy()
        norms_Q, norms_V = torch.from_numpy(row_norms(queries_QD)), row_norms(vectors_VD)
        start = 0
        for one in batch:
            for place, count in one.counts.items():
                lift_Q = scores_QV[:, start : start + count].max(axis=1)
                longest = float(norms_V[start : start + count].max())
                margin_Q = score_margins(norms_Q, longest, terms=queries_QD.shape[1]).numpy()
                over_QN = lift_Q[:, None] - scores_QN
                enters_QN = one.may_TQN[place] & ~(over_QN < -margin_Q[:, None])  # also what is no number
                found.entrants_TQN[place] += enters_QN
                better_QN = enters_QN & (over_QN > excess_TQN[place])
                found.strongest_TQN[place][better_QN] = one.row
                excess_TQN[place] = np.where(better_QN, over_QN, excess_TQN[place])
            start += len(one.texts)
