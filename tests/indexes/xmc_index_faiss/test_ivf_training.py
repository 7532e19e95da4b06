"""Invariants: codes are as good for short and long labels as for those of norm 1, and the cells are the same; no other
factor of the centres is better."""

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, recall

from xmc_index_faiss.ivf import Ivf
from xmc_index_faiss.ivf_training import scale_of_centres

STORAGES = {"fp16": {}, "sq8": {}, "pq": {"pq_m": 8, "pq_bits": 6}}


@pytest.mark.parametrize("storage", STORAGES)
def test_recall_does_not_depend_on_how_long_the_labels_are(storage):
    labels_LD, queries_QD = clustered(3000, 60)
    expected = brute_force(labels_LD, queries_QD, 10)
    found, cells = {}, []
    for scale in (1.0, 0.01, 100.0):
        backend = Ivf(storage=storage, rerank=0, nlist=40, **STORAGES[storage])
        index = backend.build([scale * labels_LD], similarity="dot", device="cpu")
        found[scale] = recall(index.search(queries_QD, 10), expected)
        cells.append(index.faiss_index.quantizer.search(labels_LD.numpy(), 3)[1])
        norms_C = np.linalg.norm(index.faiss_index.quantizer.reconstruct_n(), axis=1)
        assert 0.5 * scale < norms_C.min() <= norms_C.max() <= scale
    assert found[1.0] > (0.4 if storage == "pq" else 0.9)
    assert [found[0.01], found[100.0]] == pytest.approx([found[1.0]] * 2, abs=0.02)
    assert np.mean(cells[0] == cells[1]) > 0.99 and np.mean(cells[0] == cells[2]) > 0.99


def test_the_factor_leaves_the_least_differences():
    labels_SD = 7 * clustered(500, 1)[0].numpy()
    centres_CD = labels_SD[::50] / np.linalg.norm(labels_SD[::50], axis=1, keepdims=True)
    near_SD = centres_CD[(labels_SD @ centres_CD.T).argmax(1)]
    factor = scale_of_centres(centres_CD, labels_SD)
    left = [((labels_SD - tried * factor * near_SD) ** 2).sum() for tried in (0.99, 1.0, 1.01)]
    assert left[1] == min(left)


@pytest.mark.parametrize("storage", STORAGES)
def test_labels_all_zero_are_found(storage):
    index = Ivf(storage=storage, nlist=3, **STORAGES[storage]).build(
        [torch.zeros(200, 24)], similarity="dot", device="cpu"
    )
    assert np.isfinite(index.faiss_index.quantizer.reconstruct_n()).all()
    hits = index.search(torch.ones(2, 24), 3)
    assert hits.offsets.tolist() == [0, 3, 6] and hits.scores.tolist() == [0] * 6
