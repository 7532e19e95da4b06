"""What xmc adds to a batch of queries of raw faiss: checks, order, ties. The ratio is raw faiss's time over xmc's.

Run: python benchmarks/bench_batch_overhead.py [--labels 200000] [--dimension 256] [--k 10] [--queries 12288]

The indexes of bench_single_query.py, one thread, batches of 64, 256 and 1,024 queries, as many queries of each. Rows of
other numbers of labels or hits are kept.
Subject and baseline take turns, batch by batch, in both orders. Both score the candidates of codes (sq8) again with the
full vectors, raw faiss by IndexRefine, and both divide the queries by their norms for the cosine, raw faiss a copy of
them by normalize_L2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import faiss
import torch
from bench_exact_search import clustered
from bench_single_query import K, in_turns, subjects
from record import beside_earlier, record, spread

RESULTS = Path(__file__).parent / "results" / "batch_overhead.csv"
BATCHES = (64, 256, 1024)


def main() -> None:
    """Write results/batch_overhead.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--k", type=int, default=K)
    parser.add_argument("--queries", type=int, default=12_288, help="of each size: a small batch is timed more often")
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    labels_LD, queries_QD = clustered(options.labels, options.queries, options.dimension)
    what = f"batches over {options.labels:,} labels" + (f", k = {options.k}" if options.k != K else "")
    shared = {"question": what, "unit": "ms", "threads": 1}
    shared |= {"config": f"dimension={options.dimension} k={options.k} queries={options.queries}"}
    rows: list[dict[str, object]] = []
    for name, search, baseline in subjects(labels_LD, k=options.k):
        for batch in BATCHES:
            parts = queries_QD.split(batch)
            seconds = in_turns(search, baseline, parts, turns=2)
            own, raw = (spread([1e3 * second for second in each]) for each in seconds)
            for subject, (median, p20, p80) in ((name, own), (f"raw faiss: {name}", raw)):
                numbers = {"median": round(median, 3), "p20": round(p20, 3), "p80": round(p80, 3)}
                rows.append({**shared, **numbers, "x": batch, "subject": subject})
            rows[-2] |= {"baseline": f"raw faiss: {name}", "ratio": round(raw[0] / own[0], 3)}
            print(name, batch, rows[-2]["median"], rows[-1]["median"], rows[-2]["ratio"], sep="\t", flush=True)
    record(RESULTS, beside_earlier(RESULTS, rows))


if __name__ == "__main__":
    main()
