"""Does an index that is chosen by goal keep its promise? Targets 0.9, 0.95 and 0.99 on five sets of label vectors.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_tuner.py [WORK_FOLDER] [--labels 0] [--queries 4500]

The recall is asked of queries that neither chose nor judged: the test split, and new draws of the synthetic set. Texts
are embedded by the untrained static encoder with wordllama's token vectors, so that training queries are as fresh to it
as test queries; the training split chooses and judges. The targets of a set share their builds; times are single runs.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from quality import imported
from record import circumstances
from torch import Tensor

from xmc.api import Index, IndexBackend
from xmc.data.dataset import load_dataset
from xmc.encode.encoder import embed_texts
from xmc.encode.static import StaticOptions
from xmc.engine.tuning_queries import CHOOSING_SHARE, MOST
from xmc.plugin_manager import load_plugins
from xmc.tune.candidates import Candidate, find_candidates
from xmc.tune.choose import Choice, TuningQueries, choose_index
from xmc.tune.goal import Goal
from xmc.tune.label_vectors import LabelVectors
from xmc.tune.reference import exact_reference
from xmc.tune.ruler import Reading, Ruler
from xmc.tune.trial import Trial

RESULTS = Path(__file__).parent / "results" / "tuner.csv"
TARGETS = (0.9, 0.95, 0.99)
SETS = ("icd10cm", "eurlex57k", "wordnet", "scifact")
COLUMNS = (
    "data", "labels", "dimension", "asked", "reached", "low95", "high95", "fresh_queries", "within_0.01",
    "judged", "choosing_queries", "index", "options", "search", "queries_per_s", "exact_queries_per_s", "ratio",
    "memory_bytes", "exact_memory_bytes", "notes", "threads", "machine", "python", "torch", "faiss", "xmc", "commit",
    "date", "config",
)  # fmt: skip


@dataclass(frozen=True)
class Vectors:
    """A set to choose an index for."""

    labels: LabelVectors
    tuning_QE: Tensor
    fresh_QE: Tensor


@dataclass(frozen=True)
class BuiltOnce:
    """A backend that builds once, for the same label vectors are asked for at each target."""

    inner: IndexBackend
    built: ClassVar[list[Index]]  # of the instance, and no option: options are copied for each measurement

    def __post_init__(self) -> None:
        object.__setattr__(self, "built", [])

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> Index:
        if self.built:
            deque(embeddings, maxlen=0)  # an index that did not read its vectors is refused
        else:
            self.built.append(self.inner.build(embeddings, similarity=similarity, device=device))
        return self.built[0]

    def load(self, folder: Path, *, device: str) -> Index:
        return self.inner.load(folder, device=device)

    def __deepcopy__(self, memo: dict[int, Any]) -> str:
        return repr(self.inner)


def text_vectors(name: str, work: Path, most_labels: int, most_queries: int) -> Vectors | None:
    """Label texts and queries of a data set, embedded without training."""
    source = imported(name, work)
    if source is None:
        return None
    data = load_dataset(source)
    encoder = StaticOptions(pretrained="wordllama", ngrams_longest=0).build([], data.labels.texts, seed=0)
    generator = np.random.default_rng(0)
    texts = [data.labels.texts[row] for row in _some(len(data.labels), most_labels or len(data.labels), generator)]
    asked = [_drawn(data.splits[split].texts, most_queries, generator) for split in ("train", "test")]
    labels_LE = embed_texts(encoder, texts, "label").numpy()
    return Vectors(LabelVectors(labels_LE, "cosine"), *(embed_texts(encoder, part, "query") for part in asked))


def synthetic_vectors(most_labels: int, most_queries: int) -> Vectors:
    """Clustered unit vectors, 128 wide."""
    labels_LE, queries_QE = clustered(most_labels or 200_000, 2 * most_queries, 128)
    return Vectors(LabelVectors(labels_LE.numpy(), "cosine"), queries_QE[:most_queries], queries_QE[most_queries:])


def _some(count: int, most: int, generator: np.random.Generator) -> list[int]:
    return np.sort(generator.choice(count, min(count, most), replace=False)).tolist()


def _drawn(texts: list[str], most: int, generator: np.random.Generator) -> list[str]:
    return [texts[row] for row in generator.permutation(len(texts))[:most].tolist()]


def rows_of_set(name: str, vectors: Vectors) -> Iterator[dict[str, object]]:
    labels = vectors.labels
    found, left_out = find_candidates(load_plugins().offers["index"], labels=len(labels), dimension=labels.dimension)
    print(name, f"{len(labels):,} labels, {len(found)} candidates", *left_out, flush=True)
    kept = [Candidate(one.name, BuiltOnce(one.backend), one.estimated_bytes, one.exact) for one in found]
    border = round(CHOOSING_SHARE * len(vectors.tuning_QE))
    halves = TuningQueries(vectors.tuning_QE[:border], vectors.tuning_QE[border:])
    fresh = exact_reference(labels, vectors.fresh_QE, min(10, len(labels)))
    for target in TARGETS:
        goal = Goal(target_recall=target)
        choice = choose_index(goal, kept, labels, halves, device="cpu")
        reading = Ruler(fresh, fresh.wanted, goal.batch_size).read(choice.index)
        exact = _backend(next(trial for trial in choice.trials if trial.candidate.exact)).built[0]
        exact_reading = Ruler(fresh, fresh.wanted, goal.batch_size).read(exact)
        yield _row(name, choice, reading, exact_reading, labels, len(fresh))


def _backend(trial: Trial) -> BuiltOnce:
    backend = trial.candidate.backend
    assert isinstance(backend, BuiltOnce)
    return backend


def _row(
    name: str, choice: Choice, reading: Reading, exact: Reading, labels: LabelVectors, fresh: int
) -> dict[str, object]:
    target, inner = choice.goal.target_recall or 0.0, _backend(choice.trial).inner
    search = dict(choice.chosen.search_options)
    print(
        f"  asked {target}: {reading.recall:.4f} [{reading.low:.4f}, {reading.high:.4f}] (judged "
        f"{choice.judged.recall:.4f}) with {inner} {search}: {reading.queries_per_s:,.0f} queries/s against "
        f"{exact.queries_per_s:,.0f}; {' '.join(choice.notes)}",
        flush=True,
    )
    for trial in choice.trials:
        print(f"     {_backend(trial).inner}: {trial.verdict}", flush=True)
    return {
        "data": name, "labels": len(labels), "dimension": labels.dimension, "asked": target,
        "reached": f"{reading.recall:.4f}", "low95": f"{reading.low:.4f}", "high95": f"{reading.high:.4f}",
        "fresh_queries": fresh, "within_0.01": round(abs(reading.recall - target), 4) <= 0.01,
        "judged": f"{choice.judged.recall:.4f}", "choosing_queries": choice.chosen.queries,
        "index": choice.trial.candidate.name, "options": repr(inner), "search": json.dumps(search),
        "queries_per_s": f"{reading.queries_per_s:.0f}", "exact_queries_per_s": f"{exact.queries_per_s:.0f}",
        "ratio": f"{reading.queries_per_s / exact.queries_per_s:.2f}", "memory_bytes": choice.judged.memory_bytes,
        "exact_memory_bytes": choice.exact.memory_bytes if choice.exact else "", "notes": " ".join(choice.notes),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, nargs="?", default=Path("runs/tuner"))
    parser.add_argument("--labels", type=int, default=0, help="at most so many labels a set; 0: all")
    parser.add_argument(
        "--queries", type=int, default=MOST, help="at most so many that choose and judge, and as many fresh"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sets", nargs="+", default=[*SETS, "clustered"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    config = f"k=10 batch=64 queries<={options.queries} labels<={options.labels or 'all'}"
    shared = {**circumstances(), "threads": options.threads, "config": config}
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in options.sets:
            synthetic, most = name == "clustered", (options.labels, options.queries)
            vectors = synthetic_vectors(*most) if synthetic else text_vectors(name, options.work, *most)
            if vectors is not None:
                for row in rows_of_set(name, vectors):
                    writer.writerow({**shared, **row})
                    file.flush()


if __name__ == "__main__":
    main()
