"""The indexes of xmc on a GPU beside the same faiss indexes raw: recall and queries a second, 1,000,000 x 384 vectors.

Run: python benchmarks/bench_index_curve_gpu.py [--labels 1000000] [--threads 16]
`exact` is held beside faiss Flat on the same GPU. A faiss without cuVS leaves out CAGRA. About three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import torch
from bench_exact_search import clustered
from bench_index_curve import BATCHES, NPROBES, K, Subject, built, measured, raw
from record import record

from xmc_index_exact.exact import Exact
from xmc_index_faiss.cagra import Cagra
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.ivf import Ivf

RESULTS = Path(__file__).parent / "results" / "index_curve_gpu.csv"
ITOPKS = (32, 64, 256)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    labels_LD, queries_QD = clustered(options.labels, max(BATCHES), options.dimension)
    exact = Exact().build(labels_LD.split(16_384), similarity="dot", device="cuda")
    true_QK = exact.search(queries_QD, K).label_rows.reshape(-1, K)
    config = f"vectors=clustered dimension={options.dimension} k={K} repeats={options.repeats}"
    rows: list[dict[str, object]] = []
    for group in subjects(labels_LD, exact):
        rows += measured(group, queries_QD, true_QK, options.labels, repeats=options.repeats, pause_s=0)
        record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


def subjects(labels_LD: torch.Tensor, exact: Any) -> Iterator[list[Subject]]:
    """Exact search beside faiss Flat, then each kind of index beside the same faiss index raw."""
    flat = built(Flat(), labels_LD, "cuda")
    yield [
        ("exact", "", partial(exact.search, k=K)),
        ("raw faiss Flat", "", partial(raw, flat.gpu.index, None)),
        ("faiss.flat", "", partial(flat.search, k=K)),
    ]
    del flat
    yield from cells(Ivf(training_per_cell=40), labels_LD)
    if hasattr(faiss, "GpuIndexCagra"):
        yield from graphs(labels_LD)
    yield from cells(Ivf(storage="pq", rerank=8, training_per_cell=40), labels_LD)


def cells(backend: Ivf, labels_LD: torch.Tensor) -> Iterator[list[Subject]]:
    index = built(backend, labels_LD, "cuda")
    for nprobe in NPROBES:
        own, setting = index.with_search_options({"nprobe": nprobe}), f"nprobe {nprobe}"
        told = faiss.SearchParametersIVF(nprobe=nprobe)
        yield [
            (f"faiss.ivf {backend.storage}", setting, partial(own.search, k=K)),
            (f"raw faiss IVF {backend.storage}", setting, partial(raw, index.gpu.index, told)),
        ]


def graphs(labels_LD: torch.Tensor) -> Iterator[list[Subject]]:
    index = built(Cagra(), labels_LD, "cuda")
    for itopk in ITOPKS:
        told = faiss.SearchParametersCagra()
        told.itopk_size = itopk
        own, setting = index.with_search_options({"itopk": itopk}), f"itopk {itopk}"
        yield [
            ("faiss.cagra", setting, partial(own.search, k=K)),
            ("raw faiss CAGRA", setting, partial(raw, index.gpu.index, told)),
        ]


if __name__ == "__main__":
    main()
