"""The indexes of xmc on a GPU beside the same faiss indexes raw: recall and queries a second, 1,000,000 x 384 vectors.

Run: python benchmarks/bench_index_curve_gpu.py [--labels 1000000] [--threads 16]
`exact` is held beside faiss Flat on the same GPU, and searched among a share of the labels beside itself among all. A
faiss without cuVS leaves out CAGRA. About three minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from bench_index_curve import BATCHES, NPROBES, K, Subject, built, measured
from raw_faiss import raw
from record import alternate, record, spread

from xmc_index_exact.exact import Exact
from xmc_index_faiss.cagra import Cagra
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.ivf import Ivf

RESULTS = Path(__file__).parent / "results" / "index_curve_gpu.csv"
ITOPKS = (32, 64, 256)
SHARES = (0.001, 0.01, 0.1, 0.5)


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
    rows = filtered(exact, queries_QD, options.labels, repeats=options.repeats)
    for group in subjects(labels_LD, exact):
        rows += measured(group, queries_QD, true_QK, options.labels, repeats=options.repeats, pause_s=0)
        record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


def filtered(exact: Any, queries_QD: torch.Tensor, labels: int, *, repeats: int) -> list[dict[str, object]]:
    """Milliseconds of exact search among a share of the labels, chosen at random, beside the search of all of them."""
    rows: list[dict[str, object]] = []
    generator = np.random.default_rng(0)
    allowed = {share: np.sort(generator.choice(labels, int(labels * share), replace=False)) for share in SHARES}
    for batch in (1, 64):
        part_QD = queries_QD[:batch].clone()
        ways = {f"among {share:.1%}": partial(exact.search_among, part_QD, K, kept) for share, kept in allowed.items()}
        seconds = alternate({"all labels": partial(exact.search, part_QD, K)} | ways, repeats=repeats, pause_s=0)
        for way, times in seconds.items():
            median, p20, p80 = (1e3 * value for value in spread(times))
            print(f"exact, batch {batch}, {way}: {median:.2f} ms", flush=True)
            figures = {"median": f"{median:.3f}", "p20": f"{p20:.3f}", "p80": f"{p80:.3f}"}
            ratio = f"{spread(seconds['all labels'])[0] * 1e3 / median:.3f}"
            names = {"question": f"search among labels, exact, batch {batch}", "subject": way, "baseline": "all labels"}
            rows.append({**names, **figures, "x": f"{labels:,} labels", "unit": "ms", "ratio": ratio})
    return rows


def subjects(labels_LD: torch.Tensor, exact: Any) -> Iterator[list[Subject]]:
    """Exact search beside faiss Flat, then each kind of index beside the same faiss index raw."""
    flat = built(Flat(), labels_LD, "cuda")
    yield [
        ("exact", "", partial(exact.search, k=K)),
        ("raw faiss Flat", "", partial(raw, flat.gpu.index, None, K)),
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
            (f"raw faiss IVF {backend.storage}", setting, partial(raw, index.gpu.index, told, K)),
        ]


def graphs(labels_LD: torch.Tensor) -> Iterator[list[Subject]]:
    index = built(Cagra(), labels_LD, "cuda")
    for itopk in ITOPKS:
        told = faiss.SearchParametersCagra()
        told.itopk_size = itopk
        own, setting = index.with_search_options({"itopk": itopk}), f"itopk {itopk}"
        yield [
            ("faiss.cagra", setting, partial(own.search, k=K)),
            ("raw faiss CAGRA", setting, partial(raw, index.gpu.index, told, K)),
        ]


if __name__ == "__main__":
    main()
