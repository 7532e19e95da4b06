"""Invariants: full lists whatever nprobe; one index for any cut of the stream; re-ranked scores are the true ones."""

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, recall, rows_of
from safetensors.numpy import load_file, save_file

from xmc.config import build_options
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.testing import check_index
from xmc_index_faiss.ivf import Ivf

STORAGES = {"flat": {}, "fp16": {}, "sq8": {}, "pq": {"pq_m": 6, "pq_bits": 4}}


def built(vectors_LD, similarity="dot", **options):
    return Ivf(**options).build([vectors_LD], similarity=similarity, device="cpu")


@pytest.mark.parametrize(
    ("options", "least"),
    [({}, 0.9), ({"nprobe": 1}, 0.3), ({"storage": "sq8"}, 0.9), ({"storage": "sq8", "rerank": 0}, 0.9)],
)
def test_contract(options, least):
    check_index(Ivf(**options), least_recall=least)


@pytest.mark.parametrize("storage", STORAGES)
def test_more_cells_find_more_and_all_cells_find_all(storage):
    labels_LD, queries_QD = clustered(3000, 40)
    expected = brute_force(labels_LD, queries_QD, 10)
    found = []
    for nprobe in (1, 8, 60):
        index = built(labels_LD, nlist=60, nprobe=nprobe, storage=storage, rerank=20, **STORAGES[storage])
        found.append(recall(index.search(queries_QD, 10), expected))
    assert found[0] < found[1] <= found[2]
    assert found[2] > 0.99


@pytest.mark.parametrize("storage", STORAGES)
def test_reranked_scores_are_the_true_inner_products(storage):
    labels_LD, queries_QD = clustered(1500, 20)
    index = built(labels_LD, storage=storage, **STORAGES[storage])
    hits = index.search(queries_QD, 7)
    for (label_rows, scores), query_D in zip(hits, queries_QD, strict=True):
        true = labels_LD[label_rows].double() @ query_D.double()
        np.testing.assert_allclose(scores, true.numpy(), rtol=0, atol=1e-6 if storage == "flat" else 6e-8)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("k", [1, 300, 1500, 4000])
def test_lists_are_full_with_one_cell_to_visit(storage, k):
    labels_LD, queries_QD = clustered(1500, 5)
    hits = built(labels_LD, nprobe=1, nlist=100, storage=storage, **STORAGES[storage]).search(queries_QD, k)
    assert np.diff(hits.offsets).tolist() == [min(k, 1500)] * 5
    for label_rows, scores in hits:
        assert len(set(label_rows.tolist())) == len(label_rows)
        assert np.array_equal(np.lexsort((label_rows, -scores)), np.arange(len(scores)))


@pytest.mark.parametrize("storage", STORAGES)
def test_the_index_does_not_depend_on_how_the_stream_is_cut(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("xmc_index_faiss.stream.BLOCK_ROWS", 256)
    labels_LD, _ = clustered(1500, 1)
    files = []
    for number, sizes in enumerate(([1500], [1, 700, 0, 799], [100] * 15)):
        folder = tmp_path / str(number)
        folder.mkdir()
        index = Ivf(storage=storage, **STORAGES[storage]).build(
            labels_LD.split(sizes), similarity="cosine", device="cpu"
        )
        index.save(folder)
        files.append({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "index.json"})
    assert files[0] == files[1] == files[2]


def test_another_seed_is_another_index():
    labels_LD, _ = clustered(3000, 1)
    indexes = [built(labels_LD, seed=seed, training_per_cell=5).faiss_index for seed in (1, 1, 2)]
    centres = [index.quantizer.reconstruct_n() for index in indexes]
    assert np.array_equal(centres[0], centres[1])
    assert not np.array_equal(centres[0], centres[2])


def test_codes_with_many_cells_are_loaded(tmp_path):
    """Per cell faiss would make a table of pq_m x 256 distances while it reads: more than the file it reads holds."""
    labels_LD, queries_QD = clustered(2000, 20, 32)
    backend = Ivf(storage="pq", pq_m=32, nlist=500, rerank=0, training_per_cell=4)
    index = backend.build([labels_LD], similarity="dot", device="cpu")
    index.save(tmp_path)
    assert (tmp_path / "index.faiss").stat().st_size < 500 * 32 * 256 * 4
    loaded = backend.load(tmp_path, device="cpu")
    assert rows_of(loaded.search(queries_QD, 10)) == rows_of(index.search(queries_QD, 10))


@pytest.mark.parametrize("storage", STORAGES)
def test_saved_and_loaded_with_its_vectors(storage, tmp_path):
    labels_LD, queries_QD = clustered(1500, 9)
    index = built(labels_LD, storage=storage, similarity="cosine", **STORAGES[storage])
    index.save(tmp_path)
    loaded = Ivf(storage=storage, nprobe=3, **STORAGES[storage]).load(tmp_path, device="cpu")
    same = loaded.with_search_options({"nprobe": 16}).search(queries_QD, 9)
    assert rows_of(same) == rows_of(index.search(queries_QD, 9))
    with pytest.raises(ArtifactError, match=r"expected IndexIVF|another size"):
        Ivf(storage="flat" if storage != "flat" else "sq8").load(tmp_path, device="cpu")
    for path in tmp_path.glob("vectors*"):
        path.unlink()
        with pytest.raises(ArtifactError, match="no vectors"):
            Ivf(storage=storage, **STORAGES[storage]).load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("vectors", lambda arrays: {}, r"vectors_LD is not there, expected float32 of shape \(1500, 24\)"),
        ("vectors", lambda arrays: {"vectors_LD": arrays["vectors_LD"][:-1]}, r"vectors_LD is .*\(1499, 24\)"),
        ("vectors", lambda arrays: {"vectors_LD": arrays["vectors_LD"][:, 1:].copy()}, r"vectors_LD is .*\(1500, 23\)"),
        ("vectors", lambda arrays: {"vectors_LD": arrays["vectors_LD"].astype(np.float16)}, "is float16 of"),
        ("vectors", lambda arrays: {**arrays, "more": np.ones(1)}, "more is float64 of .*, expected not there"),
        ("cells", lambda arrays: arrays.pop("radii_C") is None or arrays, "radii_C is not there, expected float64"),
        (
            "cells",
            lambda arrays: {name: array[1:].copy() for name, array in arrays.items()},
            r"is float64 of shape \(37,\)",
        ),
    ],
)
def test_arrays_that_do_not_belong_to_the_index_are_refused(file, change, message, tmp_path):
    backend = Ivf(storage="sq8")
    backend.build([clustered(1500, 1)[0]], similarity="dot", device="cpu").save(tmp_path)
    path = tmp_path / f"{file}.safetensors"
    save_file(change(load_file(path)), path)
    with pytest.raises(ArtifactError, match=rf"{file}.safetensors does not belong to the index beside it: .*{message}"):
        backend.load(tmp_path, device="cpu")


def test_the_ladder_climbs_from_one_cell_to_all_without_a_copy():
    labels_LD, queries_QD = clustered(3000, 20)
    index = built(labels_LD, nlist=50)
    ladder = index.search_ladder()
    assert [step["nprobe"] for step in ladder] == [1, 2, 4, 8, 16, 32, 50]
    best = index.with_search_options(ladder[-1])
    assert best.faiss_index is index.faiss_index
    assert (best.report.options["nprobe"], index.report.options["nprobe"]) == (50, 16)
    assert rows_of(best.search(queries_QD, 5)) == brute_force(labels_LD, queries_QD, 5)


@pytest.mark.parametrize("options", [{"nlist": 3}, {"nprobe": 0}, {"nprobe": "4"}, {"nprobe": True}])
def test_search_options_are_checked(options):
    with pytest.raises(ConfigError):
        built(clustered(500, 1)[0]).with_search_options(options)


@pytest.mark.parametrize(
    "options",
    [
        {"storage": "sq4"},
        {"nprobe": 0},
        {"nlist": -1},
        {"rerank": -1},
        {"pq_bits": 13},
        {"training_per_cell": 0},
        {"training_per_cell": 2**31},
        {"seed": 2**31},
        {"cells": 4},
    ],
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        build_options(Ivf, options, section="index")


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (50, {"nlist": 51}, ConfigError, "nlist is 51, and there are 50 labels.*nlist = 0"),
        (500, {"storage": "pq", "pq_m": 7}, ConfigError, "does not divide the dimension 24.*1, 2, 3, 4, 6, 8, 12, 24"),
        (255, {"storage": "pq"}, DataError, "learns 256 codes.*there are 255.*'flat' or 'sq8'"),
    ],
)
def test_what_does_not_go_with_the_labels_is_an_error(labels, options, error, message):
    with pytest.raises(error, match=message):
        built(clustered(labels, 1)[0], **options)


@pytest.mark.parametrize("rerank", [0, 4])
def test_numbers_that_float16_would_make_infinite_are_refused(rerank):
    labels_LD, queries_QD = clustered(500, 10)
    held_LD = labels_LD * (30_000 / labels_LD.abs().max())
    found = built(held_LD, storage="fp16", nprobe=8, nlist=8, rerank=rerank).search(queries_QD, 5)
    assert recall(found, brute_force(held_LD, queries_QD, 5)) > 0.9
    for scale in (-66_000, 3e6):
        labels_LD[0, 0] = scale
        with pytest.raises(ConfigError, match=r"up to 65,504, and the label vectors need up to .*'flat' or 'sq8'"):
            built(labels_LD, storage="fp16", rerank=rerank)
        assert len(built(labels_LD, storage="sq8").search(queries_QD, 3).scores) == 30


def test_numbers_of_which_float16_would_leave_nothing_are_refused():
    labels_LD, queries_QD = clustered(500, 10)
    held_LD = labels_LD * 1e-4
    found = built(held_LD, storage="fp16", nprobe=8, nlist=8, rerank=0).search(queries_QD, 5)
    assert recall(found, brute_force(held_LD, queries_QD, 5)) > 0.9
    with pytest.raises(
        ConfigError, match=r"no steps below 6e-08, and .* no numbers above .*'flat' or 'sq8'.* Or scale"
    ):
        built(labels_LD * 1e-6, storage="fp16")
    assert len(built(torch.zeros(500, 24), storage="fp16").search(queries_QD, 3).scores) == 30


@pytest.mark.parametrize("labels", [1, 2, 39, 400, 5000])
def test_cells_are_chosen_so_that_each_has_enough_to_learn_from(labels):
    assert 1 <= Ivf().cells(labels) <= max(1, labels // 39)
    assert built(torch.eye(8).repeat(labels, 1)[:labels]).search(torch.eye(8), 1).offsets.tolist() == list(range(9))


@pytest.mark.parametrize(
    "options", [{}, {"storage": "sq8"}, {"storage": "sq8", "rerank": 0}, {"storage": "pq", "pq_bits": 6}]
)
@pytest.mark.parametrize("labels", [2000, 9000])
def test_the_memory_estimate_is_within_five_percent(options, labels):
    import faiss

    index = built(clustered(labels, 1, 64)[0], **options)
    held = index.vectors.matrix_LD.nbytes if options and options.get("rerank", 4) else 0
    real = len(faiss.serialize_index(index.faiss_index)) + held
    assert Ivf(**options).estimated_bytes(labels=labels, dimension=64) == pytest.approx(real, rel=0.05)
    assert index.report.memory_bytes == Ivf(**options).estimated_bytes(labels=labels, dimension=64)


def test_proposals_can_be_built_and_there_are_none_for_few_labels():
    assert not Ivf.proposals(labels=1000, dimension=24)
    assert len({proposal.storage for proposal in Ivf.proposals(labels=10**6, dimension=384)}) == 3
    for proposal in Ivf.proposals(labels=5000, dimension=8):
        assert len(proposal.build([clustered(5000, 1, 8)[0]], similarity="dot", device="cpu").search_ladder()) > 3
