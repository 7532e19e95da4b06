"""Is exact search by xmc faster than faiss Flat? 200,000 x 384 clustered vectors, k = 10, several batch sizes.

Run: python benchmarks/bench_exact_search.py [--threads 2] [--labels 200000] [--repeats 9]
All subjects run in turn in one process; before timing, the answers are compared with faiss's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import torch
from record import alternate, record, spread
from torch import Tensor

from xmc_index_exact.exact import Exact

RESULTS = Path(__file__).parent / "results" / "exact_search.csv"
BASELINE = "faiss.IndexFlatIP"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64, 256, 1024])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LD, queries_QD = clustered(options.labels, max(options.batches), options.dimension)
    flat = faiss.IndexFlatIP(options.dimension)
    flat.add(labels_LD.numpy())
    wide, narrow = (
        Exact(first_pass=name).build([labels_LD], similarity="dot", device="cpu") for name in ("float32", "bfloat16")
    )
    config = f"labels={options.labels} dimension={options.dimension} k={options.k} repeats={options.repeats}"
    rows = []
    for batch in options.batches:
        part_QD = queries_QD[:batch].clone()
        subjects: dict[str, Callable[[], object]] = {
            BASELINE: lambda part_QD=part_QD: flat.search(part_QD.numpy(), options.k),
            "torch chunks": lambda part_QD=part_QD: chunked_torch(labels_LD, part_QD, options.k),
            "xmc exact float32": lambda part_QD=part_QD: wide.search(part_QD, options.k),
            "xmc exact bfloat16": lambda part_QD=part_QD: narrow.search(part_QD, options.k),
        }
        agreement = np.mean(
            flat.search(part_QD.numpy(), options.k)[1].ravel() == narrow.search(part_QD, options.k).label_rows
        )
        seconds = alternate(subjects, repeats=options.repeats)
        baseline = spread(seconds[BASELINE])[0]
        for subject, values in seconds.items():
            median, p20, p80 = spread(values)
            row = {"subject": subject, "x": batch, "median": f"{median * 1e3:.3f}", "ratio": f"{baseline / median:.2f}"}
            print(f"batch {batch:5d}  {subject:20s} {median * 1e3:9.2f} ms  {baseline / median:5.2f}x", flush=True)
            rows.append(
                row
                | {"question": "exact search vs batch", "baseline": BASELINE, "unit": "ms per batch"}
                | {"p20": f"{p20 * 1e3:.3f}", "p80": f"{p80 * 1e3:.3f}", "threads": options.threads, "config": config}
            )
        print(f"batch {batch:5d}  same labels as {BASELINE}: {agreement:.5f}", flush=True)
    record(RESULTS, rows)


if __name__ == "__main__":
    main()
