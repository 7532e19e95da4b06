"""Invariants: any factory string over inner products keeps the contract; wrong words are told before the work."""

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, recall, rows_of

from xmc.config import build_options
from xmc.errors import ArtifactError, ConfigError, DataError, DeviceError
from xmc.testing import check_index
from xmc_index_faiss.factory import Factory

STRINGS = {
    "IVF32,Flat": "nprobe",
    "HNSW8": "efSearch",
    "SQ8": "",
    "PQ2x4": "",
    "PCA16,IVF8,SQ8": "nprobe",
    "IVF16,SQ8,RFlat": "nprobe",
    "IVF16,PQ4x4fs": "nprobe",
}


def built(vectors_LD, factory, **options):
    return Factory(factory, **options).build([vectors_LD], similarity="dot", device="cpu")


def test_contract():
    check_index(Factory("HNSW16", search={"efSearch": 64}))
    check_index(Factory("Flat"), least_recall=1.0)


@pytest.mark.parametrize("factory", STRINGS)
def test_lists_are_full_filters_hold_and_a_save_keeps_the_answers(factory, tmp_path):
    labels_LD, queries_QD = clustered(700, 6)
    index = built(labels_LD, factory)
    for k in (3, 700):
        assert np.diff(index.search(queries_QD, k).offsets).tolist() == [k] * 6
    for every in (2, 300):
        allowed = np.arange(0, 700, every)
        hits = index.search_among(queries_QD, 9, allowed)
        assert np.diff(hits.offsets).tolist() == [min(9, len(allowed))] * 6
        assert set(hits.label_rows.tolist()) <= set(allowed.tolist())
    index.save(tmp_path)
    loaded = Factory(factory).load(tmp_path, device="cpu")
    assert rows_of(loaded.search(queries_QD, 5)) == rows_of(index.search(queries_QD, 5))
    assert loaded.report.memory_bytes == pytest.approx((tmp_path / "index.faiss").stat().st_size, rel=0.02)


@pytest.mark.parametrize("factory", STRINGS)
def test_the_ladder_is_that_of_the_inner_index(factory):
    labels_LD, queries_QD = clustered(1500, 30)
    index = built(labels_LD, factory)
    ladder = index.search_ladder()
    assert set().union(*ladder) == ({STRINGS[factory]} if STRINGS[factory] else set())
    expected = brute_force(labels_LD, queries_QD, 5)
    first, last = (recall(index.with_search_options(ladder[i]).search(queries_QD, 5), expected) for i in (0, -1))
    assert last >= first
    with pytest.raises(ConfigError, match="no search parameter 'probes'"):
        index.with_search_options({"probes": 3})


def test_refinement_looks_at_more_candidates():
    labels_LD, queries_QD = clustered(1500, 30)
    expected = brute_force(labels_LD, queries_QD, 5)
    shares = [
        recall(built(labels_LD, "PQ2x4,RFlat", search={"k_factor": factor}).search(queries_QD, 5), expected)
        for factor in (1, 50)
    ]
    assert shares[0] < shares[1]


def test_a_refinement_looks_at_all_labels_at_most():
    """faiss makes room for k x k_factor candidates of each query, whether there are so many or not."""
    labels_LD, queries_QD = clustered(300, 7)
    for factor in (10**11, 10**400):
        index = built(labels_LD, "PQ2x4,RFlat", search={"k_factor": factor})
        for k in (1, 7, 300, 500):
            hits = index.search(queries_QD, k)
            assert rows_of(hits) == brute_force(labels_LD, queries_QD, k)


def test_the_same_bytes_each_time(tmp_path):
    labels_LD, _ = clustered(300, 1)
    for factory in ("IVF8,PQ2x4", "HNSW8"):
        files = []
        for _ in range(2):
            built(labels_LD, factory).save(tmp_path)
            files.append((tmp_path / "index.faiss").read_bytes())
        assert files[0] == files[1], factory


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factory": "IFV32,Flat"}, ConfigError, "'IFV32,Flat' is no index of dimension 24.*could not parse.*Examples"),
        ({"factory": "PQ7"}, ConfigError, "should be a multiple of the number of subquantizers"),
        ({"factory": "LSH"}, ConfigError, "'LSH' is no index"),
        ({"factory": "IDMap,Flat"}, ConfigError, "Leave out IDMap"),
        (
            {"factory": "IVF999,Flat"},
            DataError,
            "cannot train 'IVF999,Flat' on 300 of 300.*at least as large.*fewer cells",
        ),
        ({"factory": "IVF9,Flat", "search": {"ef": 3}}, ConfigError, "no search parameter 'ef'.*it has: nprobe"),
        ({"factory": "SQ8", "search": {"nprobe": 3}}, ConfigError, "it has none"),
    ],
)
def test_what_cannot_be_is_an_error(options, error, message):
    with pytest.raises(error, match=message):
        Factory(**options).build([clustered(300, 1)[0]], similarity="dot", device="cpu")


@pytest.mark.parametrize(
    "options",
    [
        {"factory": " "},
        {"factory": "NSG32"},
        {"training_rows": 0},
        {"seed": -1},
        {"seed": 2**31},
        {"search": {"nprobe": 0}},
        {"nprobe": 3},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        build_options(Factory, options, section="index")


def test_a_gpu_and_a_damaged_file_are_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"faiss\.factory"):
        Factory().build([torch.ones(1, 2)], similarity="dot", device="cuda")
    built(torch.randn(50, 8), "SQ8").save(tmp_path)
    (tmp_path / "index.faiss").write_bytes(b"hello")
    with pytest.raises(ArtifactError):
        Factory().load(tmp_path, device="cpu")
