"""Train the runs that bench_checks.py and bench_certificates.py measure, each into WORK_FOLDER/NAME.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/check_runs.py WORK_FOLDER [NAME ...]

Settings are short: WordNet is trained on for two epochs, EURLEX57K against sampled labels, and `eurlex57k-static` sees
the first 4,000 training documents only. A run that is there already is kept. `*-mw` has the Mann-Whitney loss in the
place of the decoupled softmax, `*-untrained` a learning rate so small that nothing is learned.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from quality import imported, xmc


@dataclass(frozen=True)
class Recipe:
    """A data set (its first `train_queries`, 0 = all), the plugin's recipe and what is set beside it."""

    data: str
    plugin: str
    settings: tuple[str, ...] = ()
    train_queries: int = 0


SAMPLED = ("train.epochs=2", "train.label_scope=sampled", "train.sampled_labels=4096", "train.score_memory_mb=1024")
CORRECTED = ("loss.correct_sampling=true", "train.label_scope=sampled", "train.sampled_labels=1024")
STATIC = (
    "encoder.name=static", "encoder.dimension=384", "encoder.similarity=dot", "encoder.shared=false",
    "encoder.ngrams_longest=0", "encoder.vocabulary_size=30000", "train.learning_rate=4.0",
    "train.label_learning_rate=0.05", "train.epochs=8",
)  # fmt: skip
UNTRAINED = ("train.epochs=1", "train.learning_rate=1e-12")
MANN_WHITNEY = ("loss.name=mw.mann-whitney", "loss.temperature=0.05", "loss.mix=0")
RUNS = {
    "scifact": Recipe("scifact", "dexml"),
    "scifact-mw": Recipe("scifact", "dexml", MANN_WHITNEY),
    "scifact-untrained": Recipe("scifact", "dexml", UNTRAINED),
    "icd10cm": Recipe("icd10cm", "dexml"),
    "icd10cm-mw": Recipe("icd10cm", "dexml", (*MANN_WHITNEY, "train.score_memory_mb=2048")),
    "icd10cm-untrained": Recipe("icd10cm", "dexml", UNTRAINED),
    "eurlex57k-static": Recipe("eurlex57k", "dexml.documents", STATIC, train_queries=4000),
    "eurlex57k": Recipe("eurlex57k", "dexml.documents", CORRECTED),
    "wordnet": Recipe("wordnet", "dexml", SAMPLED),
}
SHIPPED = ("icd10cm",)


def first_queries(folder: Path, queries: int) -> str:
    """An imported data set beside the whole one, with its first training queries only."""
    smaller = folder.with_name(f"{folder.name}-{queries}")
    if not smaller.is_dir():
        shutil.copytree(folder, smaller)
        train = pq.read_table(folder / "train.parquet")
        # without the recorded hashes, which are those of the whole
        pq.write_table(train.slice(0, queries).replace_schema_metadata(None), smaller / "train.parquet")
    return str(smaller)


def make(name: str, work: Path) -> Path | None:
    """The folder of run `name`, trained if it is not there; None where its data set is absent."""
    recipe, run = RUNS[name], work / name
    if (run / "train.json").is_file():
        return run
    data = recipe.data if recipe.data in SHIPPED else imported(recipe.data, work / "data")
    if data is None:
        return None
    if recipe.train_queries:
        data = first_queries(Path(data), recipe.train_queries)
    chosen = [part for setting in recipe.settings for part in ("--set", setting)]
    cost = xmc("train", "--plugin", recipe.plugin, "--data", data, "--out", str(run), *chosen)
    print(f"{name}: {cost.processor_s:.0f} processor seconds, {cost.peak_mb:.0f} MB at most")
    return run


if __name__ == "__main__":
    work_folder, *names = sys.argv[1:]
    for each in names or RUNS:
        make(each, Path(work_folder))
