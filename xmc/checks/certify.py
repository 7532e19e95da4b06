"""`xmc check certify`: how many lists no allowed substitution of words can change, proved and tried.

Shapes: Q queries, T radii, N values of k, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xmc.check_contract import Better, CheckContext, CheckFigure, CheckResult
from xmc.checks.certify_bench import Bench, Side, radius_name
from xmc.checks.intervals import mean_figures
from xmc.counted import counted
from xmc.errors import ConfigError
from xmc.substitutions.word_sets import read_substitutions

BOOTSTRAP_SAMPLES = 1000
MOST_TRIED = 1_000_000  # queries, rewritings or attacks: more never come to an end


@dataclass(frozen=True)
class Certify:
    """Bound the share of queries whose first k labels no attacker can change: certified <= true share <= unbroken.

    An attacker replaces at most R words by others of `substitutions` (`counterfitted`, `wordnet` or a file): in the
    query, or in the text of one label that is not in the list, so that it enters. `radii` are the values of R; 0 means
    every word. `listed`: a text with at most so many rewritings is certified by embedding all of them, where the sum
    over words is not exact. `attacks`: random attacks on each query and radius. `greedy`: substitutions that are tried
    in each step of the greedy attacker (0 leaves it out). `samples` above 0 adds randomised smoothing, with so many
    rewritings of each text and this `confidence` for each list. It rewrites a word to words that lie up to `steps`
    substitutions away: with more steps more lists can be proven, with fewer the smoothed ranking is better.
    """

    ks: tuple[int, ...] = (1, 5, 10)
    radii: tuple[int, ...] = (1, 2, 3, 0)
    substitutions: str = "counterfitted"
    sides: tuple[Literal["query", "label"], ...] = ("query", "label")
    sample: int = 200
    listed: int = 256
    attacks: int = 10
    greedy: int = 16
    samples: int = 0
    steps: int = 1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.ks or min(self.ks) < 1 or list(self.ks) != sorted(set(self.ks)) or max(self.ks) > 1000:
            raise ConfigError(f"check.certify.ks must be rising ranks in 1..1,000, got {self.ks}.")
        positive = [radius for radius in self.radii if radius != 0]
        if not self.radii or min(self.radii) < 0 or self.radii != (*sorted(set(positive)), *[0] * (0 in self.radii)):
            raise ConfigError(f"check.certify.radii must rise, with 0 (every word) last, got {self.radii}.")
        if not self.sides or len(set(self.sides)) < len(self.sides) or not {*self.sides} <= {"query", "label"}:
            raise ConfigError(f"check.certify.sides must be 'query', 'label' or both, got {self.sides}.")
        for name, least in {"sample": 1, "listed": 0, "attacks": 0, "greedy": 0, "samples": 0}.items():
            if not least <= (value := getattr(self, name)) <= MOST_TRIED:
                raise ConfigError(f"check.certify.{name} must be {least} to {MOST_TRIED:,}, got {value:,}.")
        if not 1 <= self.steps <= 3:
            raise ConfigError(f"check.certify.steps must be 1, 2 or 3, got {self.steps}.")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"check.certify.confidence must lie between 0 and 1, got {self.confidence}.")

    def figures(self) -> Mapping[str, Better]:
        """For every side, k and radius the certified and the unbroken share, and with smoothing its own."""
        ends = [f"at_{k}_radius_{radius_name(radius)}" for radius in self.radii for k in self.ks]
        kinds = [f"{side}_{kind}" for side in self.sides for kind in ("certified", "unbroken")]
        if "query" in self.sides:
            kinds.append("query_kept_precision")
        if self.samples:
            kinds += [f"{side}_smoothed_certified" for side in self.sides]
        names = [f"{kind}_{end}" for kind in kinds for end in ends]
        clean = ["precision"] + [f"{side}_smoothed_precision" for side in self.sides if self.samples]
        names += [f"{name}_at_{k}" for name in clean for k in self.ks]
        if "query" in self.sides:
            names.append("query_witnesses_working")
        return {**dict.fromkeys(names, "higher"), "violations": "lower", "attacks": "neither"}

    def run(self, context: CheckContext) -> CheckResult:
        """Sample queries, certify, attack.

        Raises: DataError for substitutions that cannot be read; ConfigError for a run with a second stage, for sparse
        label vectors, and for the label side alone of a head whose labels are more than their texts.
        """
        from xmc.checks.certify_labels import measure_labels
        from xmc.checks.certify_queries import measure_queries
        from xmc.checks.certify_smoothing import measure_smoothing

        bench = self._bench(context)
        sides: dict[str, Side] = {}
        notes = []
        chosen = self.sides if bench.labels_from_text else tuple(side for side in self.sides if side != "label")
        if len(chosen) < len(self.sides):
            notes.append(self._only_queries())
        if "query" in chosen:
            sides["query"] = measure_queries(bench)
        if "label" in chosen:
            sides["label"] = measure_labels(bench)
        values = {name: value_Q for side in sides.values() for name, value_Q in side.extra.items()}
        for name, side in sides.items():
            values |= self._shares(f"{name}_certified", side.certified_QTN)
            values |= self._shares(f"{name}_unbroken", ~side.broken_QTN)
        notes += [note for side in sides.values() for note in side.notes]
        clean_QN = bench.precision(bench.embed(bench.queries.texts) @ bench.labels.labels_LD.T)
        values |= {f"precision_at_{k}": clean_QN[:, column] for column, k in enumerate(self.ks)}
        if self.samples:
            for name in chosen:
                smoothed = measure_smoothing(
                    bench, name, samples=self.samples, confidence=self.confidence, steps=self.steps
                )
                values |= self._shares(f"{name}_smoothed_certified", smoothed.certified_QTN)
                values |= {
                    f"{name}_smoothed_precision_at_{k}": smoothed.precision_QN[:, column]
                    for column, k in enumerate(self.ks)
                }
                notes += smoothed.notes
        return self._result(bench, values, sides, notes)

    def _only_queries(self) -> str:
        if self.sides == ("label",):
            raise ConfigError(
                "the vectors of this run's labels are not the embeddings of their texts alone, so rewriting a text has "
                "no certificate.",
                hint="Use: --set 'check.certify.sides=[\"query\"]'",
            )
        return "The label side is left out: this run's labels have vectors that are more than their texts' embeddings."

    def _bench(self, context: CheckContext) -> Bench:
        from xmc.checks.label_matrix import LabelMatrix

        if getattr(context.retriever, "reranking", None) is not None:
            raise ConfigError(
                "this run scores its shortlist again, and certificates cover the first stage only.",
                hint="Certify a run of the same settings with reranker.name=none and fusion.prior=0, and name the "
                "other checks here.",
            )
        count = min(self.sample, len(context.queries))
        rows = np.sort(np.random.default_rng(context.seed).choice(len(context.queries), count, replace=False))
        return Bench(
            context.retriever,
            context.queries.take(rows),
            LabelMatrix.of(context.retriever),
            read_substitutions(self.substitutions),
            self.ks,
            self.radii,
            self.listed,
            self.attacks,
            self.greedy,
            context.seed,
            context.progress,
        )

    def _shares(self, kind: str, is_so_QTN: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
        return {
            f"{kind}_at_{k}_radius_{radius_name(radius)}": is_so_QTN[:, place, column].astype(np.float64)
            for place, radius in enumerate(self.radii)
            for column, k in enumerate(self.ks)
        }

    def _result(self, bench: Bench, values: dict[str, Any], sides: dict[str, Side], notes: list[str]) -> CheckResult:
        names = list(values)
        values_QM = np.stack([values[name] for name in names], axis=1)
        means = mean_figures(values_QM, samples=BOOTSTRAP_SAMPLES, seed=bench.seed)
        figures = dict(zip(names, means, strict=True))
        violations = sum(side.violations for side in sides.values())
        figures["violations"] = CheckFigure(float(violations))
        figures["attacks"] = CheckFigure(float(sum(side.attacks for side in sides.values())))
        if "query" in sides and sides["query"].working is not None:
            figures["query_witnesses_working"] = CheckFigure(sides["query"].working)
        source = bench.substitutions
        notes.insert(
            0,
            f"{counted(len(bench.queries), 'query')}, {counted(len(bench.labels), 'label')}; "
            f"'{source.source}' has substitutes for "
            f"{counted(len(source.of_word), 'word')}. Ranks are those among all labels, ties by label id.",
        )
        if violations:
            notes.append(
                f"{counted(violations, 'certified list or label was', 'certified lists or labels were')} "
                "broken: the certificates are wrong, please report it."
            )
        rows = [row for side in sides.values() for row in side.witnesses]
        columns = ("side", "query_id", "k", "radius", "falls", "rises", "works", "text")
        tables = {"witnesses": {name: [row[name] for row in rows] for name in columns}} if rows else {}
        return CheckResult(figures, tables=tables, notes=tuple(notes))
