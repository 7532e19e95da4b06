"""Where does scoring the allowed labels beat telling the index the filter? Time and recall of both, by share kept.

Run: python benchmarks/bench_filtered_search.py [--labels 200000] [--threads 2]
`chosen` is the way that `search_among` goes; it should be the faster one, or near it. `x` is the share of labels that
is kept, the least one that of a single label; `no filter` is the search of all labels, by whose recall that under a
filter is to be judged. A way whose first search takes more than 2 s is measured once, and at smaller shares not at all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from record import alternate, record, spread

from xmc.api import Hits
from xmc.testing.index_cases import recall
from xmc_index_exact.exact import Exact
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.index import FaissIndex
from xmc_index_faiss.ivf import Ivf
from xmc_index_faiss.row_scan import scan_rows

RESULTS = Path(__file__).parent / "results" / "filtered_search.csv"
K = 10
SHARES = (0.5, 0.1, 0.01, 0.001)
MOST_S = 2.0
SCAN, TOLD = "scan", "filter told to the index"
BACKENDS: dict[str, Any] = {
    "exact": Exact(),
    "faiss.flat": Flat(),
    "faiss.ivf": Ivf(training_per_cell=40),
    "faiss.ivf sq8": Ivf(training_per_cell=40, storage="sq8"),
    "faiss.ivf pq": Ivf(training_per_cell=40, storage="pq"),
    "faiss.hnsw": Hnsw(M=16, ef_construction=60),
}
Ways = dict[str, Callable[[], Hits]]


def ways_of(index: Any, queries_QD: torch.Tensor, rows: np.ndarray[Any, Any]) -> tuple[Ways, str]:
    """The ways to search among these rows, and the one that is chosen; the exact index scores the allowed labels."""
    if not isinstance(index, FaissIndex):
        return {SCAN: partial(index.search_among, queries_QD, K, rows)}, SCAN
    queries = queries_QD.numpy().copy()
    scanned = len(rows) <= index._most_scanned(len(queries), K)
    ways: Ways = {
        SCAN: partial(scan_rows, queries, index.vectors, rows, K),
        TOLD: partial(index._found_hits, queries, min(K, len(rows)), rows),
    }
    return ways, SCAN if scanned else TOLD


def measured(name: str, index: Any, queries_QD: torch.Tensor, truth: Any, repeats: int) -> Iterator[dict[str, Any]]:
    """Rows of the table: no filter, then each share, in every way."""
    labels, batch = index.report.labels, len(queries_QD)
    question, slow = f"search among labels, {name}, batch {batch}", set()
    all_rows = np.arange(labels)
    searches: list[tuple[float, Ways, str, np.ndarray[Any, Any]]] = [
        (1.0, {"no filter": partial(index.search, queries_QD, K)}, "", all_rows)
    ]
    for share in (*SHARES, 1 / labels):
        rows = np.sort(np.random.default_rng(0).choice(labels, max(1, int(labels * share)), replace=False))
        searches.append((share, *ways_of(index, queries_QD, rows), rows))
    for share, ways, chosen, rows in searches:
        true, first = truth.search_among(queries_QD, K, rows), {}
        for way in ways.keys() - slow:
            started = time.perf_counter()
            hits = ways[way]()
            first[way] = [time.perf_counter() - started], recall(hits, true)
        slow |= {way for way, (times, _) in first.items() if times[0] > MOST_S}
        again = {way: ways[way] for way in first.keys() - slow}
        seconds = {way: times for way, (times, _) in first.items()} | alternate(again, repeats=repeats, warmups=1)
        base = spread(seconds[SCAN] * 2)[0] if SCAN in seconds else None
        for way, times in seconds.items():
            median, p20, p80 = spread(times) if len(times) > 1 else times * 3
            subject = way + (" (chosen)" if way == chosen else "")
            print(
                f"{question[20:]} keep {share:g} {subject} {median * 1e3:.2f} ms recall {first[way][1]:.4f}", flush=True
            )
            shared = {"question": question, "x": f"{share:g}", "subject": subject, "baseline": SCAN if base else ""}
            figures = {"median": f"{median * 1e3:.3f}", "p20": f"{p20 * 1e3:.3f}", "p80": f"{p80 * 1e3:.3f}"}
            ratio = f"{base / median:.2f}" if base else ""
            yield {**shared, **figures, "unit": "ms per batch", "ratio": ratio}
            yield {**shared, "median": f"{first[way][1]:.4f}", "unit": "recall_against_exact"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LD, queries_QD = clustered(options.labels, 64, options.dimension)
    truth = Exact().build([labels_LD], similarity="dot", device="cpu")
    rows = []
    for name, backend in BACKENDS.items():
        index = truth if name == "exact" else backend.build([labels_LD], similarity="dot", device="cpu")
        for batch in (1, 64):
            rows += measured(name, index, queries_QD[:batch], truth, options.repeats)
    config = f"labels={options.labels} dimension={options.dimension} k={K} repeats={options.repeats}"
    record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
