"""Is exact search by xmc faster than faiss Flat? 200,000 x 384 clustered vectors, k = 10, several batch sizes.

Run: python benchmarks/bench_exact_search.py [--threads 2] [--labels 200000 1000000] [--k 10] [--repeats 9]
All subjects run in turn in one process; before timing, the answers are compared with faiss's. In the same turns run
two roofs: reading the vectors once (`memory roof`), and the matrix product alone in slices, without finding the best
(`product roof`). The rows `share of the roof` give the time of the higher roof over that of the search. bfloat16 is
measured where the processor has instructions for it, int8 where torch has a kernel; the roof of int8 reads a quarter of
the bytes, and its product is of codes by that kernel. Rows of other numbers of labels, threads or hits are kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from record import alternate, beside_earlier, record, spread
from torch import Tensor

from xmc_index_exact.exact import Exact
from xmc_index_exact.first_pass import FirstPass, has_fast_bfloat16
from xmc_index_exact.index import ExactIndex
from xmc_index_exact.int8_pass import TOGETHER, Int8Pass
from xmc_index_exact.int8_product import LARGEST_QUERY_CODE, kernel

RESULTS = Path(__file__).parent / "results" / "exact_search.csv"
FAISS = ("faiss.IndexFlatIP", "faiss.IndexFlatIP tuned")
CHUNK = 16_384
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}  # a number


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
    parser.add_argument("--labels", type=int, nargs="+", default=[200_000, 1_000_000])
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


def read_once(labels_LD: Tensor) -> object:
    """The least that a search of one batch must do: see every number once (as integers: no arithmetic to wait for)."""
    return labels_LD.view(torch.int32).amax()


def product_alone(labels_LD: Tensor, queries_QD: Tensor, scores_LQ: Tensor) -> object:
    """All scores in slices whose results stay in the cache, each thrown away."""
    for part_LD in labels_LD.split(CHUNK // 4):
        torch.mm(part_LD, queries_QD.T, out=scores_LQ[: len(part_LD)])
    return scores_LQ


def first_passes() -> list[str]:
    """Number formats of the first pass that are worth measuring here."""
    return ["float32", *(["bfloat16"] if has_fast_bfloat16() else []), *(["int8"] if kernel(384) else [])]


def roofs_of(indexes: dict[str, ExactIndex], queries_QD: Tensor) -> dict[str, Callable[[], object]]:
    """Name and what to run, for the matrix of each number format."""
    wide = indexes["float32"].wide
    roofs: dict[str, Callable[[], object]] = {"memory roof float32": partial(read_once, wide.labels_LD)}
    for name, index in indexes.items():
        roofs[f"product roof {name}"] = product_of(index.narrow or index.wide, queries_QD)
    return roofs


def product_of(matrix: FirstPass | Int8Pass, queries_QD: Tensor) -> Callable[[], object]:
    """The product alone, as that pass makes it."""
    if isinstance(matrix, Int8Pass):
        return partial(coded_product_alone, matrix, (queries_QD * LARGEST_QUERY_CODE / queries_QD.abs().max()).round())
    dtype = matrix.labels_LD.dtype
    scores_LQ = torch.empty((CHUNK // 4, len(queries_QD)), dtype=dtype)
    return partial(product_alone, matrix.labels_LD, queries_QD.to(dtype), scores_LQ)


def coded_product_alone(matrix: Int8Pass, codes_QD: Tensor) -> object:
    """All products of codes, as many queries together as the search takes, each result thrown away."""
    for group_QD in codes_QD.split(TOGETHER):
        for part in matrix.parts:
            matrix.kernel.multiply(group_QD, part)
    return matrix


def shares_of_roofs(batch: int, seconds: dict[str, list[float]]) -> list[dict[str, object]]:
    """For each of xmc's searches the share of the higher roof that it reaches: 1 is as fast as can be."""
    medians = {subject: spread(values)[0] for subject, values in seconds.items()}
    read_s = medians["memory roof float32"]
    memory = {name: read_s * BYTES[name] / 4 for name in first_passes()}
    rows: list[dict[str, object]] = []
    for name, least_s in memory.items():
        roof_s = max(least_s, medians[f"product roof {name}"])
        share = roof_s / medians[f"xmc exact {name}"]
        print(f"batch {batch:5d}  xmc exact {name}: {share:.2f} of the roof ({roof_s * 1e3:.1f} ms)", flush=True)
        names = {"question": "share of the roof vs batch", "subject": f"xmc exact {name}", "x": batch}
        rows.append({**names, "baseline": "higher roof", "median": f"{share:.3f}", "unit": "roof time / own time"})
    return rows


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    rows = []
    for labels in options.labels:
        rows += rows_of_labels(labels, options)
    record(RESULTS, beside_earlier(RESULTS, [{**row, "threads": options.threads} for row in rows]))


def rows_of_labels(labels: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """The rows of one number of labels."""
    k = options.k
    labels_LD, queries_QD = clustered(labels, max(options.batches), options.dimension)
    flat = faiss.IndexFlatIP(options.dimension)
    flat.add(labels_LD.numpy())
    indexes: dict[str, ExactIndex] = {}
    rows: list[dict[str, object]] = []
    for name in first_passes():
        started = time.perf_counter()
        indexes[name] = Exact(first_pass=name).build([labels_LD], similarity="dot", device="cpu")
        rows.append(made(name, indexes[name], time.perf_counter() - started))
    config = f"labels={labels} dimension={options.dimension} k={k} repeats={options.repeats}"
    for batch in options.batches:
        part_QD = queries_QD[:batch].clone()
        subjects: dict[str, Callable[[], object]] = {
            FAISS[0]: partial(flat.search, part_QD.numpy(), k),
            FAISS[1]: partial(faiss_tuned, flat, part_QD, k),
            "torch chunks": partial(chunked_torch, labels_LD, part_QD, k),
            **{f"xmc exact {name}": partial(index.search, part_QD, k) for name, index in indexes.items()},
        }
        last = list(indexes.values())[-1]
        same = np.mean(flat.search(part_QD.numpy(), k)[1].ravel() == last.search(part_QD, k).label_rows)
        print(f"batch {batch:5d}  same labels as faiss: {same:.5f}", flush=True)
        subjects |= roofs_of(indexes, part_QD)
        seconds = alternate(subjects, repeats=options.repeats)
        rows += rows_of_batch(batch, seconds) + shares_of_roofs(batch, seconds)
    what = f"{labels:,} × {options.dimension}, {options.threads} threads" + (f", k = {k}" if k != 10 else "")
    return [{**row, "question": f"{row['question']}, {what}", "config": config} for row in rows]


def made(first_pass: str, index: ExactIndex, seconds: float) -> dict[str, object]:
    """Seconds from vectors in memory to an index that can be searched, once; opening a saved one also reads it."""
    print(f"{first_pass}: made in {seconds:.1f} s, {index.report.memory_bytes / index.report.labels:.0f} bytes a label")
    names = {"question": "seconds to make the index", "subject": f"xmc exact {first_pass}", "x": "made"}
    return {**names, "median": f"{seconds:.2f}", "unit": "s"}


if __name__ == "__main__":
    main()
