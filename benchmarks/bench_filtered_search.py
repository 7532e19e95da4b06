"""Where does scoring the allowed labels beat telling faiss the filter? Time and recall of both, by share kept.

Run: python benchmarks/bench_filtered_search.py [--labels 100000] [--threads 2]; about five minutes with the defaults.
The row `chosen` says which way `search_among` goes; it should be the faster one, or near it.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from record import alternate, record, spread

from xmc.testing.index_cases import recall
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.ivf import Ivf
from xmc_index_faiss.row_scan import scan_rows

RESULTS = Path(__file__).parent / "results" / "filtered_search.csv"
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LD, queries_QD = clustered(options.labels, 64, options.dimension)
    ivf, hnsw = Ivf(training_per_cell=40), Hnsw(M=16, ef_construction=60)
    backends: dict[str, Ivf | Hnsw] = {"faiss.ivf": ivf, "faiss.hnsw": hnsw}
    rows = []
    for name, backend in backends.items():
        index = backend.build([labels_LD], similarity="dot", device="cpu")
        for keep in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001):
            allowed = np.sort(np.random.default_rng(0).choice(options.labels, int(options.labels * keep), False))
            for batch in (1, 64):
                queries = queries_QD[:batch].numpy().copy()
                ways = {
                    "scan": partial(scan_rows, queries, index.vectors, allowed, K),
                    "filter told to faiss": partial(index._found_hits, queries, K, allowed),
                }
                true = ways["scan"]()
                seconds = alternate(ways, repeats=options.repeats, warmups=1)
                scans = len(allowed) <= index._most_scanned(batch, K)
                for way, times in seconds.items():
                    median, p20, p80 = spread(times)
                    found = recall(ways[way](), true)
                    chosen = " (chosen)" if (way == "scan") == scans else ""
                    print(f"{name} keep {keep} batch {batch} {way}{chosen} {median * 1e3:.2f} ms recall {found:.3f}")
                    names = {"question": f"search among labels, {name}, batch {batch}", "x": keep}
                    shared = {**names, "subject": way + chosen, "baseline": "scan"}
                    figures = {"median": f"{median * 1e3:.3f}", "p20": f"{p20 * 1e3:.3f}", "p80": f"{p80 * 1e3:.3f}"}
                    ratio = f"{spread(seconds['scan'])[0] / median:.2f}"
                    rows.append({**shared, **figures, "unit": "ms per batch", "ratio": ratio})
                    rows.append({**shared, "median": f"{found:.4f}", "unit": "recall_against_exact"})
    config = f"labels={options.labels} dimension={options.dimension} k={K} repeats={options.repeats}"
    record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
