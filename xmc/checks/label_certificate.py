"""Certified top k of queries when the text of one label outside is rewritten: which labels cannot enter.

Shapes: T radii, N values of k, Q queries, V variants of label texts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.checks.additive import AdditiveTexts, NotAdditiveError
from xmc.checks.label_bound import LabelBound
from xmc.checks.substitutions import Substitutions
from xmc.checks.text_edits import Floats
from xmc.checks.variants import variant_count, variants
from xmc.checks.worst_gap import UNIT

TEXTS_AT_ONCE = 4096


@dataclass
class LabelCertificates:
    """What is proved of Q queries against rewriting one label at a time.

    `lists_TQN`: no label from outside can enter the first k. `entrants_TQN` counts the labels of which that is not
    proved, `strongest_TQN` is one of them (-1 where there is none), `exact_L` says for which labels the answer is not
    a bound. Labels that could not be examined count as entrants everywhere; there are `unknown` of them.
    """

    entrants_TQN: NDArray[np.int64]
    strongest_TQN: NDArray[np.int64]
    exact_TL: NDArray[np.bool_]
    unknown: int = 0

    @property
    def lists_TQN(self) -> NDArray[np.bool_]:
        """Whether the list is certified."""
        return self.entrants_TQN == 0


@dataclass(eq=False)
class LabelCertifier:
    """Certifies all queries, label by label: by embedding every allowed text where they are at most `listed`, else by
    the sum over words.

    `embed` gives label embeddings; `texts` is the additive form of the labels, None for an encoder without one.
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
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> LabelCertificates:
        """The certificates of queries whose k-th scores are `scores_QN` (-inf: the list has room for every label).

        Naive: for each label, embed every allowed text of it, and see whether its score comes to the k-th.
        `ranks_of(label_row)` are the ranks (from 0) of a label in the queries' lists, large where it is not there.
        """
        shape = (len(self.radii), *scores_QN.shape)
        strongest = np.full(shape, -1, dtype=np.int64)
        found = LabelCertificates(
            np.zeros(shape, np.int64), strongest, np.ones((shape[0], len(self.label_texts)), bool)
        )
        excess_TQN = np.full(shape, -np.inf)
        for done, (row, lift_TQ) in enumerate(self._listed(queries_QD), start=1):
            outside_QN = ranks_of(row)[:, None] >= np.asarray(ks)
            for place, lift_Q in lift_TQ.items():
                over_QN = np.where(outside_QN, lift_Q[:, None] - scores_QN, -np.inf)
                enters_QN = over_QN >= -self._margins(queries_QD, lift_Q)[:, None]
                found.entrants_TQN[place] += enters_QN
                better_QN = enters_QN & (over_QN > excess_TQN[place])
                found.strongest_TQN[place][better_QN] = row
                excess_TQN[place] = np.where(better_QN, over_QN, excess_TQN[place])
            progress(done, len(self.label_texts))
        for row in range(len(self.label_texts)):
            self._bound(row, queries_QD, scores_QN, ranks_of(row)[:, None] >= np.asarray(ks), found)
        return found

    def attack(self, row: int, place: int, query_D: Tensor, score: float) -> str:
        """The rewriting of label `row`, within radius number `place`, that lifts it the most for a query.

        Raises: NotAdditiveError where none is known.
        """
        text, radius = self.label_texts[row], self.radii[place]
        sites = self.substitutions.sites(text)
        if variant_count(sites, radius) <= self.listed:
            texts = list(variants(text, sites, radius))
            return texts[int((self.embed(texts) @ query_D).argmax())]
        if self.texts is None:
            raise NotAdditiveError("the encoder is not a sum over words")
        return LabelBound.of(self.texts, text, sites, radius).attack(query_D, score)

    def _listed(self, queries_QD: Tensor) -> Iterator[tuple[int, dict[int, Floats]]]:
        """For every label the highest score of a changed text, (Q,), at the radii whose texts were listed."""
        batch: list[tuple[int, list[int], int]] = []  # label row, number of texts of each radius, first text
        texts: list[str] = []
        for row, text in enumerate(self.label_texts):
            sites = self.substitutions.sites(text)
            counts = [variant_count(sites, radius) for radius in self.radii]
            short = [count for count in counts if count <= self.listed]
            batch.append((row, [count - 1 if count <= self.listed else -1 for count in counts], len(texts)))
            if short and max(short) > 1:
                widest = self.radii[max(place for place, count in enumerate(counts) if count == max(short))]
                texts += list(variants(text, sites, widest))[1:]  # the text as it is does not enter
            if len(texts) >= TEXTS_AT_ONCE or row == len(self.label_texts) - 1:
                scores_QV = (queries_QD @ self.embed(texts).T).numpy() if texts else np.zeros((len(queries_QD), 0))
                for label, sizes, start in batch:
                    yield (
                        label,
                        {
                            place: scores_QV[:, start : start + size].max(axis=1, initial=-np.inf)
                            for place, size in enumerate(sizes)
                            if size >= 0
                        },
                    )
                batch, texts = [], []

    def _bound(
        self,
        row: int,
        queries_QD: Tensor,
        scores_QN: Floats,
        outside_QN: NDArray[np.bool_],
        found: LabelCertificates,
    ) -> None:
        sites = self.substitutions.sites(self.label_texts[row])
        for place, radius in enumerate(self.radii):
            if variant_count(sites, radius) <= self.listed:
                continue
            found.exact_TL[place, row] = self.texts is not None and self.texts.length == "tokens"
            may_QN = outside_QN
            try:
                if self.texts is None:
                    raise NotAdditiveError("the encoder is not a sum over words")
                bound = LabelBound.of(self.texts, self.label_texts[row], sites, radius)
                may_QN = outside_QN & bound.may_reach(queries_QD, scores_QN)
            except NotAdditiveError:
                found.unknown += 1
            found.entrants_TQN[place] += may_QN
            found.strongest_TQN[place][may_QN] = row

    def _margins(self, queries_QD: Tensor, lift_Q: Floats) -> Floats:
        """What float32 arithmetic can change a score by; a label's length is at most that of the highest score."""
        norms_Q = torch.linalg.vector_norm(queries_QD, dim=1).double().numpy()
        return (
            4 * (queries_QD.shape[1] + 8) * UNIT * np.maximum(norms_Q, np.abs(np.where(np.isfinite(lift_Q), lift_Q, 0)))
        )
