"""What xmc adds to one query of raw faiss: microseconds, query after query, and after pauses.

Run: python benchmarks/bench_single_query.py [--labels 200000] [--dimension 256]

Clustered vectors, k = 10, one thread. «In a row» is a loop over 1,000 queries, as under load; «after a pause» sleeps
for 5 ms before each, so that nothing of either library is in a cache. Subject and baseline take turns, query by query;
who comes second finds the vectors in the cache, so that the queries are gone through six times, each three times the
first, and the time of a query is the median of them: the machine that this runs on changes its speed within minutes.
The ratio is of the medians. Both score the candidates of codes (sq8) again
with the full vectors, raw faiss by IndexRefine, and both divide the query by its norm for the cosine, raw faiss a copy
of it by normalize_L2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from raw_faiss import raw, raw_cosine, refined
from record import record, spread

from xmc_index_faiss.flat import Flat
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.ivf import Ivf
from xmc_index_faiss.label_vectors import HeldVectors

RESULTS = Path(__file__).parent / "results" / "single_query.csv"
K, QUERIES, IN_A_ROW, PAUSED, PAUSE_S, TURNS = 10, 1000, 1000, 200, 0.005, 6
Search = Callable[[torch.Tensor], Any]


def subjects(labels_LD: torch.Tensor, *, k: int = K) -> Iterator[tuple[str, Search, Search]]:
    """(name, search by xmc, search by raw faiss of the same index)."""
    few_LD = labels_LD[: len(labels_LD) // 10]
    backends: list[tuple[str, Any, torch.Tensor, Any]] = [
        ("faiss.ivf, nprobe 8", Ivf(nprobe=8), labels_LD, faiss.SearchParametersIVF(nprobe=8)),
        ("faiss.ivf, nprobe 32", Ivf(nprobe=32), labels_LD, faiss.SearchParametersIVF(nprobe=32)),
        ("faiss.ivf of sq8, nprobe 8", Ivf(nprobe=8, storage="sq8"), labels_LD, faiss.SearchParametersIVF(nprobe=8)),
        ("faiss.hnsw, ef 64, a tenth of the labels", Hnsw(), few_LD, faiss.SearchParametersHNSW(efSearch=64)),
        ("faiss.flat, a tenth of the labels", Flat(), few_LD, None),
    ]
    for name, backend, vectors_LD, told in backends:
        for similarity in ("dot", "cosine"):
            index = backend.build([vectors_LD], similarity=similarity, device="cpu")
            asked = index.faiss_index, told
            if isinstance(index.vectors, HeldVectors):
                asked = refined(index.faiss_index, index.vectors.matrix_LD, backend.rerank, told)
            baseline = partial(raw_cosine if similarity == "cosine" else raw, *asked, k)
            yield f"{name}, {similarity}", partial(index.search, k=k), baseline


def in_turns(
    search: Search, baseline: Search, parts: Sequence[torch.Tensor], *, turns: int, pause_s: float = 0.0
) -> tuple[list[float], list[float]]:
    """Seconds that both take for each of these queries, or batches of them: the median of coming first and second."""
    seconds = np.zeros((2, len(parts), turns))
    for turn in range(turns):
        for part, queries_QD in enumerate(parts):
            for place in (0, 1):
                who = (place + turn) % 2
                time.sleep(pause_s)
                started = time.perf_counter()
                (search, baseline)[who](queries_QD)
                seconds[who, part, turn] = time.perf_counter() - started
    own, raw_times = np.median(seconds, axis=2).tolist()
    return own, raw_times


def main() -> None:
    """Write results/single_query.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    labels_LD, queries_QD = clustered(options.labels, QUERIES, options.dimension)
    rows: list[dict[str, object]] = []
    for name, search, baseline in subjects(labels_LD):
        for x, asked, pause_s in (("in a row", IN_A_ROW, 0.0), ("after a pause", PAUSED, PAUSE_S)):
            singles = queries_QD[:asked].split(1)
            seconds = in_turns(search, baseline, singles, turns=TURNS, pause_s=pause_s)
            own, raw_times = ([1e6 * second for second in each] for each in seconds)
            added = [one - other for one, other in zip(own, raw_times, strict=True)]
            shared = {"question": f"one query over {options.labels:,} labels", "x": x, "unit": "us", "threads": 1}
            shared |= {"config": f"dimension={options.dimension} k={K}"}
            figures = (name, spread(own)), (f"raw faiss: {name}", spread(raw_times)), (f"added: {name}", spread(added))
            for subject, (median, p20, p80) in figures:
                numbers = {"median": round(median, 1), "p20": round(p20, 1), "p80": round(p80, 1)}
                rows.append({**shared, **numbers, "subject": subject})
            rows[-3] |= {"baseline": f"raw faiss: {name}", "ratio": round(spread(own)[0] / spread(raw_times)[0], 3)}
            print(name, x, *(row["median"] for row in rows[-3:]), sep="\t", flush=True)
    record(RESULTS, rows)


if __name__ == "__main__":
    main()
