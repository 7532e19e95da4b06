"""Is exact search by xmc faster than faiss Flat? 200,000 x 384 clustered vectors, k = 10, several batch sizes.

Run: python benchmarks/bench_exact_search.py [--threads 2] [--labels 200000] [--repeats 9]
All subjects run in turn in one process; before timing, the answers are compared with faiss's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from record import alternate, record, spread
from torch import Tensor

from xmc_index_exact.exact import Exact

RESULTS = Path(__file__).parent / "results" / "exact_search.csv"
FAISS = ("faiss.IndexFlatIP", "faiss.IndexFlatIP tuned")
CHUNK = 16_384


def clustered(labels: int, queries: int, dimension: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors around shared centres, about a hundred labels each."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, labels // 100), dimension, generator=generator)

    def around(count: int) -> Tensor:
        chosen = torch.randint(len(centres), (count,), generator=generator)
        return torch.nn.functional.normalize(
            centres[chosen] + 0.5 * torch.randn(count, dimension, generator=generator), dim=1
        )

    return around(labels), around(queries)


def chunked_torch(labels_LD: Tensor, queries_QD: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The plain way: matrix product and top-k per chunk of labels, then top-k of those."""
    scores, rows = [], []
    for start in range(0, len(labels_LD), CHUNK):
        best = (queries_QD @ labels_LD[start : start + CHUNK].T).topk(k, dim=1)
        scores.append(best.values)
        rows.append(best.indices + start)
    best = torch.cat(scores, dim=1).topk(k, dim=1)
    return best.values, torch.cat(rows, dim=1).gather(1, best.indices)


def faiss_tuned(flat: faiss.IndexFlatIP, queries_QD: Tensor, k: int) -> object:
    """Search with the settings that were fastest here: BLAS, large blocks; one query goes the sequential way."""
    settings = faiss.cvar
    before = settings.distance_compute_blas_threshold, settings.distance_compute_blas_database_bs
    settings.distance_compute_blas_threshold, settings.distance_compute_blas_database_bs = 1, 16_384
    if len(queries_QD) == 1:
        settings.distance_compute_blas_threshold = 1_000_000_000
    try:
        return flat.search(queries_QD.numpy(), k)
    finally:
        settings.distance_compute_blas_threshold, settings.distance_compute_blas_database_bs = before


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64, 256, 1024])
    return parser.parse_args()


def rows_of_batch(batch: int, seconds: dict[str, list[float]]) -> list[dict[str, object]]:
    """One row a subject; the baseline is the faster of the two ways of faiss."""
    spreads = {subject: spread(values) for subject, values in seconds.items()}
    baseline = min(FAISS, key=lambda subject: spreads[subject])
    rows: list[dict[str, object]] = []
    for subject, (median, p20, p80) in spreads.items():
        ratio = spreads[baseline][0] / median
        print(f"batch {batch:5d}  {subject:24s} {median * 1e3:9.2f} ms  {ratio:6.2f}x", flush=True)
        times = {"median": f"{median * 1e3:.3f}", "p20": f"{p20 * 1e3:.3f}", "p80": f"{p80 * 1e3:.3f}"}
        names = {"question": "exact search vs batch", "subject": subject, "baseline": baseline, "x": batch}
        rows.append({**names, **times, "unit": "ms per batch", "ratio": f"{ratio:.2f}"})
    return rows


def main() -> None:
    options = arguments()
    k = options.k
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LD, queries_QD = clustered(options.labels, max(options.batches), options.dimension)
    flat = faiss.IndexFlatIP(options.dimension)
    flat.add(labels_LD.numpy())
    wide, narrow = (
        Exact(first_pass=name).build([labels_LD], similarity="dot", device="cpu") for name in ("float32", "bfloat16")
    )
    config = f"labels={options.labels} dimension={options.dimension} k={k} repeats={options.repeats}"
    rows = []
    for batch in options.batches:
        part_QD = queries_QD[:batch].clone()
        subjects: dict[str, Callable[[], object]] = {
            FAISS[0]: partial(flat.search, part_QD.numpy(), k),
            FAISS[1]: partial(faiss_tuned, flat, part_QD, k),
            "torch chunks": partial(chunked_torch, labels_LD, part_QD, k),
            "xmc exact float32": partial(wide.search, part_QD, k),
            "xmc exact bfloat16": partial(narrow.search, part_QD, k),
        }
        same = np.mean(flat.search(part_QD.numpy(), k)[1].ravel() == narrow.search(part_QD, k).label_rows)
        print(f"batch {batch:5d}  same labels as faiss: {same:.5f}", flush=True)
        rows += rows_of_batch(batch, alternate(subjects, repeats=options.repeats))
    record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
