"""The kit must catch: wrong order, -1, lost negatives, a shared label matrix, accepted NaN, a lossy save."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from xmc.testing import ConformanceError, check_index
from xmc.values import Hits
from xmc_index_exact.exact import Exact


@dataclass(frozen=True)
class Wrapped:
    """An exact index with one fault."""

    fault: str

    def build(self, embeddings, *, similarity, device):
        chunks = list(embeddings)
        if self.fault == "reads-twice":
            chunks = list(embeddings)
        if self.fault == "accepts-nan":
            chunks = [chunk.nan_to_num() for chunk in chunks]
        if self.fault == "writes-inputs":
            chunks[0].mul_(2)
        return Faulty(Exact().build(chunks, similarity=similarity, device=device), self.fault)

    def load(self, folder, *, device):
        if self.fault == "absolute-path":
            folder = Path((folder / "where").read_text())
        inner = Exact().load(folder, device=device)
        if self.fault == "lossy-save":
            inner = Exact().build([inner.wide.labels_LD.half()], similarity="dot", device=device)
        return Faulty(inner, self.fault)


@dataclass(frozen=True)
class Faulty:
    inner: object
    fault: str

    @property
    def report(self):
        return replace(self.inner.report, **REPORTS.get(self.fault, {}))

    def save(self, folder):
        self.inner.save(folder)
        if self.fault == "absolute-path":
            (folder / "where").write_text(str(folder))

    def search(self, queries_QD, k):
        if self.fault == "clips-k":
            k = min(k, 5)
        if self.fault == "ten-at-most" and k > 10:
            k = 10
        if self.fault == "k-zero":
            k = max(k, 1)
        hits = self.inner.search(queries_QD, k)
        offsets, rows, scores = hits.offsets, hits.label_rows.copy(), hits.scores
        if self.fault == "reversed" and len(rows):
            return Hits(offsets, rows[::-1], scores[::-1])
        if self.fault == "sentinel" and len(rows):
            rows[-1] = -1
        if self.fault == "blocks-of-400":
            rows = rows % 400
        if self.fault == "clips-scores":
            scores = np.maximum(scores, 0)
        if self.fault == "float64":
            scores = scores.astype(np.float64)
        return Hits(offsets, rows, scores)


REPORTS = {
    "wrong-report": {"labels": 1},
    "negative-memory": {"memory_bytes": -5},
    "no-backend": {"backend": ""},
    "not-json": {"options": {"a": object()}},
}
FAULTS = [
    "accepts-nan",
    "writes-inputs",
    "lossy-save",
    "wrong-report",
    "clips-k",
    "k-zero",
    "reversed",
    "sentinel",
    "clips-scores",
    "float64",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_kit_catches(fault):
    with pytest.raises(ConformanceError):
        check_index(Wrapped(fault), exact=True)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("reads-twice", "reads the label vectors a second time"),
        ("negative-memory", "memory_bytes are above 0; memory_bytes=-5"),
        ("no-backend", "the report names backend and device"),
        ("not-json", "report is sound: raised TypeError"),
        ("absolute-path", "save and load: raised ArtifactError|save and load: raised FileNotFoundError"),
        ("blocks-of-400", "of 1100 labels: scores are those of their rows"),
        ("ten-at-most", "of 1100 labels and k = 40: recall of 0.9"),
    ],
)
def test_the_kit_names(fault, message):
    with pytest.raises(ConformanceError, match=message):
        check_index(Wrapped(fault))


@dataclass(frozen=True)
class Worded(Wrapped):
    """Its options have a type that a configuration lacks."""

    words: frozenset[str] = frozenset()


def test_the_kit_puts_the_options_through_a_configuration():
    with pytest.raises(ConformanceError, match="options go through TOML"):
        check_index(Worded("none"), exact=True)
    with pytest.raises(ConformanceError, match="a backend is a dataclass"):
        check_index(object())


def test_the_kit_passes_the_wrapper_without_a_fault():
    check_index(Wrapped("none"), exact=True)


@dataclass(frozen=True)
class Worst(Exact):
    """True scores in the right order, of the worst labels instead of the best."""

    def build(self, embeddings, *, similarity, device):
        return WorstIndex(super().build(embeddings, similarity=similarity, device=device))


@dataclass(frozen=True)
class WorstIndex:
    inner: object

    @property
    def report(self):
        return self.inner.report

    def search(self, queries_QD, k):
        labels = self.inner.report.labels
        hits = self.inner.search(queries_QD, labels)
        rows, scores = (part.reshape(-1, labels)[:, -k:] for part in (hits.label_rows, hits.scores))
        return Hits(np.arange(len(rows) + 1) * rows.shape[1], rows.ravel(), scores.ravel())


def test_a_backend_that_is_not_exact_must_reach_the_recall():
    with pytest.raises(ConformanceError, match="recall"):
        check_index(Worst())
