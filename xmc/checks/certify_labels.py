"""The label side of `xmc check certify`: labels outside a list whose text is rewritten so that they enter it."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from xmc.checks.certify_bench import Bench, Side
from xmc.checks.label_certificate import LabelCertificates, LabelCertifier
from xmc.checks.rounding import NotCertifiedError
from xmc.checks.substitution_attacks import greedy_attack, random_attack
from xmc.checks.text_edits import Floats
from xmc.counted import counted
from xmc.fixed_order import dot_pairs

CONTENDERS = 5  # labels next to the list that are attacked at random


def measure_labels(bench: Bench) -> Side:
    """Certify every list against rewriting one label at a time, then attack the labels next to it."""
    queries_QD = bench.vectors(bench.queries.texts)
    width = max(bench.ks) + CONTENDERS
    leading = bench.rank(bench.queries.texts, width)
    leading_QK = np.stack(leading)
    scores_QN = np.full((len(leading), len(bench.ks)), -np.inf)
    for column, k in enumerate(bench.ks):
        if k < len(bench.labels):
            labels_QD = bench.labels.take(leading_QK[:, k - 1])
            scores_QN[:, column] = dot_pairs(queries_QD, labels_QD).float().numpy()  # bit by bit those of an index
    certifier = LabelCertifier(
        bench.additive("label"),
        bench.substitutions,
        bench.retriever.labels.texts,
        lambda texts: bench.vectors(texts, "label"),
        bench.radii,
        listed=bench.listed,
    )

    def ranks_of(label_row: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        is_here_QK = leading_QK == label_row
        return np.where(is_here_QK.any(axis=1), is_here_QK.argmax(axis=1), len(bench.labels))

    found = certifier.certify(
        queries_QD, scores_QN, ranks_of, bench.ks, first=np.unique(leading_QK).tolist(), progress=bench.progress
    )
    room_N = np.array([k >= len(bench.labels) for k in bench.ks])
    certified_QTN = (found.lists_TQN | room_N).transpose(1, 0, 2)
    side = Side(certified_QTN, np.zeros(certified_QTN.shape, dtype=bool))
    attacker = _LabelAttacker(bench, certifier, queries_QD, scores_QN, leading_QK, side)
    attacker.witnesses(found)
    attacker.tries()
    side.notes = _notes(bench, found)
    return side


class _LabelAttacker:
    def __init__(
        self,
        bench: Bench,
        certifier: LabelCertifier,
        queries_QD: Tensor,
        scores_QN: Floats,
        leading_QK: np.ndarray[Any, np.dtype[np.int64]],
        side: Side,
    ) -> None:
        self.bench, self.certifier, self.side = bench, certifier, side
        self.queries_QD, self.scores_QN, self.leading_QK = queries_QD, scores_QN, leading_QK

    def witnesses(self, found: LabelCertificates) -> None:
        """Try the strongest attack that the certificates know of, for every list that is not certified."""
        for place, row, column in np.argwhere(found.strongest_TQN >= 0).tolist():
            label = int(found.strongest_TQN[place, row, column])
            try:
                text = self.certifier.attack(label, place, self.queries_QD[row], float(self.scores_QN[row, column]))
            except NotCertifiedError:
                continue
            works = self._enters([text], label, row)[0, column]
            self.side.broken_QTN[row, place:, column] |= works
            self.side.witnesses.append(
                {
                    "side": "label",
                    "query_id": self.bench.queries.ids[row],
                    "k": self.bench.ks[column],
                    "radius": self.bench.radii[place],
                    "falls": "",
                    "rises": self.bench.retriever.labels.ids[label],
                    "works": bool(works),
                    "text": text,
                }
            )

    def tries(self) -> None:
        """Rewrite the labels next to each list at random, and the very next one greedily."""
        bench = self.bench
        for row in range(len(self.leading_QK)):
            generator = np.random.default_rng([bench.seed, row])
            for column, k in enumerate(bench.ks):
                for label in self.leading_QK[row, k : k + CONTENDERS].tolist():
                    self._random(row, column, label, generator)
                if bench.greedy and k < self.leading_QK.shape[1]:
                    self._greedy(row, column, int(self.leading_QK[row, k]), generator)

    def _random(self, row: int, column: int, label: int, generator: np.random.Generator) -> None:
        bench = self.bench
        text = bench.retriever.labels.texts[label]
        sites = bench.substitutions.sites(text)
        if not sites or not bench.attacks:
            return
        for place, radius in enumerate(bench.radii):
            texts = [random_attack(text, sites, radius, generator) for _ in range(bench.attacks)]
            self.side.broken_QTN[row, place:, column] |= self._enters(texts, label, row)[:, column].any()

    def _greedy(self, row: int, column: int, label: int, generator: np.random.Generator) -> None:
        bench = self.bench
        text = bench.retriever.labels.texts[label]
        sites = bench.substitutions.sites(text)
        steps = greedy_attack(
            text,
            sites,
            max(3, *bench.radii),
            lambda texts: -np.asarray((bench.vectors(texts, "label") @ self.queries_QD[row]).numpy()),
            width=bench.greedy,
            generator=generator,
        )
        for done, attacked in enumerate(steps, start=1):
            works = self._enters([attacked], label, row)[0, column]
            for place, radius in enumerate(bench.radii):
                if radius == 0 or radius >= done:
                    self.side.broken_QTN[row, place, column] |= works

    def _enters(self, texts: list[str], label: int, row: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether a label with one of these texts comes above the k-th score, (N texts, N values of k)."""
        vectors_ND = self.bench.vectors(texts, "label")
        scores_N = dot_pairs(vectors_ND, self.queries_QD[row].expand_as(vectors_ND)).float().numpy()
        self.side.attacks += len(texts)
        outside_N = ~np.array([label in self.leading_QK[row, :k] for k in self.bench.ks])
        return np.asarray((scores_N[:, None] > self.scores_QN[row]) & outside_N & np.isfinite(self.scores_QN[row]))


def _notes(bench: Bench, found: LabelCertificates) -> list[str]:
    share = float(found.exact_TL.mean())
    notes = [
        f"Label side: one label outside the list is rewritten at a time; {share:.1%} of the labels were certified "
        f"exactly (at most {bench.listed:,} rewritings), the others by a bound that is sound and not complete."
    ]
    if found.unknown:
        notes.append(
            f"Nothing can be proved of {counted(found.unknown, 'label')} at some radius; no list is "
            "certified against them."
        )
    return notes
