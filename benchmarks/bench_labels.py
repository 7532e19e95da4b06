"""How long until an added label is found, what do edits and filters cost a search?

Run: python benchmarks/bench_labels.py [edits|search|filter ...] [--run-labels 1000000] [--labels 200000] [--threads 2]
`edits`: a run on ICD-10-CM (46,881 labels; one epoch, its quality does not matter) and the same model over synthetic
labels: add 1, 100 and 10,000 and reload, beside building the index anew and loading it. `search`: base and edits beside
a fresh index. `filter`: latency and recall by the share of labels that is allowed. Ratios hold within one run. Rows of
other parts are kept.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_exact_search import clustered
from record import alternate, beside_earlier, record, spread

import xmc
from xmc.api import Index
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, label_table_to_arrow
from xmc.errors import XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.retrieve.kept_search import search_among
from xmc.retrieve.label_edits import Edit, LabelEdits
from xmc.retrieve.living_index import LivingIndex
from xmc.retrieve.living_labels import live_labels
from xmc.retrieve.opening import index_beside

RESULTS = Path(__file__).parent / "results" / "labels.csv"
PLUGINS = load_plugins()
BACKENDS = [offer.full_name for offer in PLUGINS.offers["index"] if offer.full_name not in ("sparse", "faiss.cagra")]
Row = dict[str, object]
K = 10


def row(question: str, subject: str, x: object, seconds: list[float], base: list[float] | None, config: str) -> Row:
    median, p20, p80 = spread(seconds)
    ratio = "" if base is None else round(spread(base)[0] / median, 3)
    return {
        "question": question, "subject": subject, "baseline": "" if base is None else "fresh index", "x": x,
        "median": round(median * 1000, 3), "p20": round(p20 * 1000, 3), "p80": round(p80 * 1000, 3), "unit": "ms",
        "ratio": ratio, "threads": torch.get_num_threads(), "config": config,
    }  # fmt: skip


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def synthetic_labels(count: int) -> LabelTable:
    """Texts of three words of ICD-10-CM titles and a number."""
    words = sorted({word for text in load_dataset("icd10cm").labels.texts for word in text.split()})
    chosen = np.random.default_rng(0).integers(0, len(words), (count, 3))
    texts = [" ".join(words[word] for word in row) for row in chosen]
    return LabelTable([f"S{number:08d}" for number in range(count)], texts)


def make_runs(folder: Path, run_labels: int) -> Iterator[tuple[str, Path, str]]:
    """(name, run, data set) of the runs that are edited."""
    settings = ["train.epochs=1", "train.label_scope=sampled", "train.validation_queries=200"]
    xmc.train_run("icd10cm", folder / "icd", settings=settings)
    yield "ICD-10-CM, 46,881 labels", folder / "icd", "icd10cm"
    forget_edits(folder / "icd")
    data = folder / "data"
    data.mkdir()
    labels = synthetic_labels(run_labels)
    write_table(data / "labels.parquet", label_table_to_arrow(labels))
    train = {"query_id": ["q"], "text": ["fever"], "positives": [[labels.ids[0]]]}
    import pyarrow as pa

    write_table(data / "train.parquet", pa.table(train))
    xmc.index_run(folder / "icd", settings=[f"data.name={data}"])
    yield f"synthetic, {run_labels:,} labels", folder / "icd", str(data)


def forget_edits(run: Path) -> None:
    shutil.rmtree(run / "labels", ignore_errors=True)
    (run / "encoder" / "has-labels").unlink(missing_ok=True)  # else the run would be refused without them


def rebuild_and_load(run: Path, data: str) -> None:
    xmc.index_run(run, settings=[f"data.name={data}"])
    xmc.Retriever.load(run)


def measure_edits(run_labels: int, repeats: int) -> Iterator[Row]:
    warnings.simplefilter("ignore", XmcWarning)
    with tempfile.TemporaryDirectory() as folder:
        for name, run, data in make_runs(Path(folder), run_labels):
            rebuilt = [timed(partial(rebuild_and_load, run, data)) for _ in range(2)]
            yield row("until a label is found", "rebuild and load", name, rebuilt, None, "")
            for count in (1, 100, 10_000):
                shots, warm = [], []
                forget_edits(run)  # no history of the count before
                retriever = xmc.Retriever.load(run)
                editor = xmc.LabelEditor(run)
                editor.report()
                for repeat in range(repeats if count < 10_000 else 2):
                    new = {f"N{count}-{repeat}-{number}": f"fever after travel {number}" for number in range(count)}
                    shots.append(timed(partial(xmc.add_labels, run, new)))
                    xmc.remove_labels(run, list(new))
                    retriever = retriever.reload_if_changed()
                    seconds = timed(partial(editor.add, {f"{label_id}w": text for label_id, text in new.items()}))
                    started = time.perf_counter()
                    retriever = retriever.reload_if_changed()
                    found = retriever.search(["fever after travel 0"], k=1)[0][0].label_id
                    warm.append(seconds + time.perf_counter() - started)
                    assert found.startswith("N"), found
                    editor.remove([f"{label_id}w" for label_id in new])
                subject = f"add {count:,}"
                yield row("until a label is found", f"{subject}, one call", name, shots, rebuilt, "without reload")
                yield row("until a label is found", f"{subject}, editor, reload, search", name, warm, rebuilt, "")


def build(name: str, vectors: torch.Tensor) -> Index:
    index: Index = PLUGINS.find("index", name).spec.load()().build([vectors], similarity="dot", device="cpu")
    return index


def edited(name: str, labels_LD: torch.Tensor, new_ND: torch.Tensor, added: int, removed: int) -> LivingIndex:
    """The index with so many labels added and removed, spread evenly."""
    base = LabelTable([f"L{number:08d}" for number in range(len(labels_LD))], ["t"] * len(labels_LD))
    gone = np.linspace(0, len(labels_LD) - 1, removed).astype(int)
    places = np.linspace(0, len(labels_LD) - 1, added).astype(int)
    edits = {f"L{number:08d}": Edit(None) for number in gone}
    edits |= {f"L{place:08d}x{number}": Edit("t") for number, place in enumerate(places)}
    living = live_labels(base, {}, LabelEdits(edits))
    index, backend = build(name, labels_LD), PLUGINS.find("index", name).spec.load()()
    delta = index_beside(index.report, backend, new_ND[:added], device="cpu") if added else None
    return LivingIndex.of(index, delta, living)


def measure_search(labels: int, repeats: int) -> Iterator[Row]:
    labels_LD, queries_QD = clustered(labels, 64, 128)
    new_ND, _ = clustered(labels // 10, 1, 128, seed=1)
    for name in BACKENDS:
        subjects: dict[str, Index] = {"fresh index": build(name, labels_LD)}
        for share in (100, 10):
            subjects[f"{100 // share} % added"] = edited(name, labels_LD, new_ND, labels // share, 0)
            subjects[f"{100 // share} % removed"] = edited(name, labels_LD, new_ND, 0, labels // share)
        for batch in (1, 64):
            calls = {key: partial(index.search, queries_QD[:batch], K) for key, index in subjects.items()}
            seconds = alternate(calls, repeats=repeats)
            for key, values in seconds.items():
                config = f"{labels:,} x 128, k = {K}"
                yield row(
                    f"search with edits, batch {batch}", f"{name}, {key}", batch, values, seconds["fresh index"], config
                )


def measure_filters(labels: int, repeats: int) -> Iterator[Row]:
    labels_LD, queries_QD = clustered(labels, 64, 128)
    exact = build("exact", labels_LD)
    for name in BACKENDS:
        index = build(name, labels_LD)
        for keep in (1.0, 0.5, 0.1, 0.01, 0.001):
            rows = np.sort(np.random.default_rng(0).choice(labels, int(labels * keep), replace=False))
            call = partial(search_among, index, queries_QD, K, rows)
            if keep == 1.0:
                call = partial(index.search, queries_QD, K)
            hits, wanted = call(), search_among(exact, queries_QD, K, rows)
            pairs = zip(hits, wanted, strict=True)
            found = np.mean([len(np.intersect1d(got, best)) / len(best) for (got, _), (best, _) in pairs])
            least = int(np.diff(hits.offsets).min())
            seconds = alternate({name: call}, repeats=repeats)[name]
            config = f"{labels:,} x 128, batch 64, k = {K}; recall against exact {found:.4f}, shortest list {least}"
            yield row("filter by share allowed", name, keep, seconds, None, config)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["edits", "search", "filter"])
    parser.add_argument("--run-labels", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    parts = {
        "edits": lambda: measure_edits(chosen.run_labels, chosen.repeats),
        "search": lambda: measure_search(chosen.labels, chosen.repeats),
        "filter": lambda: measure_filters(chosen.labels, chosen.repeats),
    }
    rows = []
    for part in chosen.parts:
        for measured in parts[part]():
            rows.append(measured)
            print(
                *(measured[key] for key in ("question", "subject", "x", "median", "ratio", "config")),
                sep=" | ",
                flush=True,
            )
    record(chosen.out, beside_earlier(chosen.out, rows))


if __name__ == "__main__":
    main()
