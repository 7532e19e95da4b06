"""Beside which centres does faiss.ivf keep codes best? Recall@10 at nprobe 8, for labels of norm 1 and of norm 0.01.

Run: python benchmarks/bench_code_centres.py [--labels 50000] [--dimension 128]; about ten minutes with the defaults.
faiss alone, one thread. Vectors: clusters, clusters with norms drawn log-normally (sigma 0.5), and random ones with
such norms. `x` is the factor of the labels; a subject ends with how many times k candidates are scored again.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import faiss
import numpy as np
import torch
from bench_exact_search import clustered
from record import record

from xmc_index_faiss.ivf_training import scale_of_centres

RESULTS = Path(__file__).parent / "results" / "code_centres.csv"
K, NPROBE, DEEPER = 10, 8, 4
KINDS = ("clusters", "clusters of unlike norms", "random of unlike norms")
Array = np.ndarray


def vectors_of(kind: str, labels: int, queries: int, dimension: int) -> tuple[Array, Array]:
    """Labels and queries."""
    labels_LD, queries_QD = clustered(labels, queries, dimension)
    generator = torch.Generator().manual_seed(1)
    if kind == "random of unlike norms":
        labels_LD = torch.nn.functional.normalize(torch.randn(labels, dimension, generator=generator), dim=1)
        queries_QD = torch.nn.functional.normalize(torch.randn(queries, dimension, generator=generator), dim=1)
    if kind != "clusters":
        labels_LD = labels_LD * torch.exp(0.5 * torch.randn(labels, 1, generator=generator))
    return labels_LD.numpy(), queries_QD.numpy()


def centres_of(labels_LD: Array, cells: int, *, spherical: bool) -> Array:
    """K-means by inner products, as an inverted file makes it."""
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(labels_LD.shape[1]), labels_LD.shape[1], cells, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.spherical, index.cp.min_points_per_centroid = spherical, 1
    index.train(labels_LD)
    return index.quantizer.reconstruct_n()


def index_of(storage: str, labels_LD: Array, centres_CD: Array, *, residual: bool) -> faiss.IndexIVF:
    """Codes of the labels, or of what is left of them beside their centre."""
    cells, dimension = centres_CD.shape
    quantizer = faiss.IndexFlatIP(dimension)
    quantizer.add(centres_CD)
    if storage == "pq":
        index = faiss.IndexIVFPQ(quantizer, dimension, cells, dimension // 8, 8, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = residual
    else:
        kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFScalarQuantizer(quantizer, dimension, cells, kind, metric, residual)
    index.referenced_objects = [quantizer]
    index.train(labels_LD)
    index.add(labels_LD)
    index.nprobe = NPROBE
    return index


def recalls(index: faiss.IndexIVF, labels_LD: Array, queries_QD: Array, true_QK: Array) -> tuple[float, float]:
    """Of the scores of the codes, and of the true scores of `DEEPER` x k candidates."""
    rows_QM = index.search(queries_QD, DEEPER * K)[1]
    scores_QM = np.einsum("qd,qmd->qm", queries_QD, labels_LD[np.maximum(rows_QM, 0)])
    scores_QM[rows_QM < 0] = -np.inf
    again_QK = np.take_along_axis(rows_QM, np.argsort(-scores_QM, axis=1)[:, :K], 1)
    shares = []
    for found_QK in (rows_QM[:, :K], again_QK):
        pairs = zip(found_QK.tolist(), true_QK.tolist(), strict=True)
        shares.append(float(np.mean([len(set(one) & set(other)) / K for one, other in pairs])))
    return shares[0], shares[1]


def cell_rows(kind: str, whole_LD: Array, centres: dict[str, Array]) -> list[dict[str, object]]:
    """How evenly the labels lie in the cells of each kind of centres."""
    rows: list[dict[str, object]] = []
    for name, centres_CD in centres.items():
        sizes_C = np.bincount((whole_LD @ centres_CD.T).argmax(1), minlength=len(centres_CD))
        for what, value, unit in (
            ("largest cell", sizes_C.max(), "labels"),
            ("empty cells", (sizes_C == 0).sum(), "cells"),
        ):
            names = {"question": f"cells of k-means, {kind}", "subject": f"centres of {name}: {what}", "x": 1}
            rows.append({**names, "median": int(value), "unit": unit})
    return rows


def recall_rows(
    kind: str,
    labels_LD: Array,
    queries_QD: Array,
    true_QK: Array,
    ways: dict[str, tuple[Array, bool]],
) -> list[dict[str, object]]:
    """The recall of both kinds of codes beside each kind of centres."""
    rows: list[dict[str, object]] = []
    for storage, (way, (centres_CD, residual)) in itertools.product(("sq8", "pq"), ways.items()):
        index = index_of(storage, labels_LD, centres_CD, residual=residual)
        for deeper, share in zip((0, DEEPER), recalls(index, labels_LD, queries_QD, true_QK), strict=True):
            names = {"question": f"recall of codes, {kind}", "subject": f"{storage} {way}, rerank {deeper}"}
            rows.append({**names, "median": f"{share:.4f}", "unit": "recall at 10"})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure all kinds of vectors, at norm 1 and at 0.01, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    cells = round(4 * options.labels**0.5)
    config = f"labels={options.labels} dimension={options.dimension} queries={options.queries} cells={cells} k={K}"
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        whole_LD, queries_QD = vectors_of(kind, options.labels, options.queries, options.dimension)
        true_QK = np.argsort(-(queries_QD.astype(np.float64) @ whole_LD.T.astype(np.float64)), axis=1)[:, :K]
        unit_CD, plain_CD = (centres_of(whole_LD, cells, spherical=spherical) for spherical in (True, False))
        rows += cell_rows(kind, whole_LD, {"norm 1": unit_CD, "means": plain_CD})
        for factor in (1.0, 0.01):
            labels_LD = whole_LD * np.float32(factor)
            ways = {
                "beside centres of norm 1": (unit_CD, True),
                "of the labels themselves": (unit_CD, False),
                "beside scaled centres": (unit_CD * np.float32(scale_of_centres(unit_CD, labels_LD)), True),
                "beside means": (plain_CD * np.float32(factor), True),
            }
            rows += [{**row, "x": factor} for row in recall_rows(kind, labels_LD, queries_QD, true_QK, ways)]
    record(RESULTS, [{**row, "threads": 1, "config": config} for row in rows])


if __name__ == "__main__":
    main()
