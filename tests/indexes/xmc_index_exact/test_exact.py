"""Invariants: equal to a float64 search with ties settled; the same bits in any batch, chunking, pass and thread."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.config import build_options
from xmc.errors import ArtifactError, ConfigError, DataError, DeviceError
from xmc.testing import check_index
from xmc_index_exact import index as index_module
from xmc_index_exact import scan
from xmc_index_exact.exact import Exact
from xmc_index_exact.first_pass import FLOAT16, FirstPass

PASSES = ("float32", "bfloat16", "int8")


def brute_force(labels_LD, queries_QD, k):
    """Loops over queries; float64 products of float32 vectors are exact, their sum is rounded to float32."""
    labels, answers = labels_LD.double().numpy(), []
    for query_D in queries_QD.double().numpy():
        scores_L = (labels @ query_D).astype(np.float32)
        answers.append(np.lexsort((np.arange(len(labels)), -scores_L))[:k].tolist())  # last key first
    return answers


def rows_of(hits):
    return [label_rows.tolist() for label_rows, _ in hits]


@pytest.mark.parametrize("first_pass", PASSES)
def test_contract(first_pass):
    check_index(Exact(first_pass=first_pass), exact=True)


@pytest.mark.parametrize("first_pass", PASSES)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(1, 700),
    dimension=st.integers(1, 40),
    queries=st.integers(1, 9),
    k=st.integers(1, 50),
    whole=st.booleans(),
)
def test_equal_to_brute_force(first_pass, seed, labels, dimension, queries, k, whole):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randint(-2, 3, (labels + queries, dimension), generator=generator).float()  # whole numbers: many ties
    vectors = draw if whole else torch.randn(labels + queries, dimension, generator=generator)
    labels_LD, queries_QD = vectors[:labels], vectors[labels:]
    index = Exact(first_pass=first_pass).build([labels_LD], similarity="dot", device="cpu")
    assert rows_of(index.search(queries_QD, k)) == brute_force(labels_LD, queries_QD, k)


@pytest.mark.parametrize("first_pass", PASSES)
def test_many_spans_and_query_groups(first_pass):
    generator = torch.Generator().manual_seed(3)
    labels_LD = torch.randn(12_001, 12, generator=generator)
    labels_LD[6_000:] = labels_LD[:6_001].clone()  # every label twice, in spans far apart
    queries_QD = torch.randn(300, 12, generator=generator)
    index = Exact(first_pass=first_pass, score_memory_mb=1).build([labels_LD], similarity="dot", device="cpu")
    assert rows_of(index.search(queries_QD, 11)) == brute_force(labels_LD, queries_QD, 11)


@pytest.mark.parametrize("first_pass", PASSES)
@pytest.mark.parametrize("spread", [0.0, 1e-7], ids=["equal", "nearly equal"])
@pytest.mark.parametrize("allowed", [3000, 2000])
def test_labels_of_a_collapsed_encoder_are_not_scored_pair_by_pair(first_pass, spread, allowed, monkeypatch):
    generator = torch.Generator().manual_seed(4)
    labels_LD = torch.randn(1, 24, generator=generator) + spread * torch.randn(3000, 24, generator=generator)
    queries_QD = torch.randn(70, 24, generator=generator)
    queries_QD[3] = 0
    index = Exact(first_pass=first_pass).build([labels_LD], similarity="dot", device="cpu")
    held, joined = [], scan.joined
    monkeypatch.setattr(scan, "joined", lambda parts: held.append(len(joined(parts).scores_P)) or joined(parts))
    summed = []
    for name in ("dot_pairs", "rounded_pairs"):
        score = getattr(index_module, name)
        counted = lambda *pair, score=score, **options: summed.append(len(pair[0])) or score(*pair, **options)  # noqa: E731
        monkeypatch.setattr(index_module, name, counted)
    hits = index.search(queries_QD, 7) if allowed == 3000 else index.search_among(queries_QD, 7, np.arange(allowed))
    assert rows_of(hits) == brute_force(labels_LD[:allowed], queries_QD, 7)
    assert max(held, default=0) + sum(summed) < 70 * 2000 / 10


def test_nearly_equal_labels_are_told_apart():
    """Labels that differ in the last bit of one number, closer than a matrix product can see."""
    generator = torch.Generator().manual_seed(4)
    labels_LD = torch.randn(1, 384, generator=generator).repeat(500, 1)
    bits = labels_LD.view(torch.int32)
    bits[:, 7] += torch.arange(500, dtype=torch.int32).flip(0) // 3
    queries_QD = torch.randn(8, 384, generator=generator)
    index = Exact().build([labels_LD], similarity="dot", device="cpu")
    assert rows_of(index.search(queries_QD, 20)) == brute_force(labels_LD, queries_QD, 20)


def test_same_bits_for_any_batch_pass_and_number_of_threads():
    generator = torch.Generator().manual_seed(5)
    labels_LD = torch.randn(3000, 65, generator=generator)
    labels_LD[1500:] = labels_LD[:1500]
    queries_QD = torch.randn(64, 65, generator=generator)
    expected = Exact(first_pass="float32").build([labels_LD], similarity="cosine", device="cpu").search(queries_QD, 7)
    threads = torch.get_num_threads()
    try:
        for first_pass, count, batch in (("float32", 2, 1), ("bfloat16", 1, 64), ("bfloat16", 2, 5), ("float32", 1, 3)):
            torch.set_num_threads(count)
            index = Exact(first_pass=first_pass).build(labels_LD.split(1001), similarity="cosine", device="cpu")
            found = [index.search(part, 7) for part in queries_QD.split(batch)]
            assert np.concatenate([hits.label_rows for hits in found]).tolist() == expected.label_rows.tolist()
            assert np.concatenate([hits.scores for hits in found]).tobytes() == expected.scores.tobytes()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("first_pass", PASSES)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 9e17])
def test_very_small_and_very_large_vectors(first_pass, scale):
    generator = torch.Generator().manual_seed(6)
    labels_LD = torch.nn.functional.normalize(torch.randn(400, 16, generator=generator), dim=1) * scale
    queries_QD = torch.nn.functional.normalize(torch.randn(6, 16, generator=generator), dim=1) * scale
    for similarity in ("dot", "cosine"):
        index = Exact(first_pass=first_pass).build([labels_LD], similarity=similarity, device="cpu")
        hits = index.search(queries_QD, 5)
        assert np.isfinite(hits.scores).all()
        if similarity == "dot":
            assert rows_of(hits) == brute_force(labels_LD, queries_QD, 5)


def test_labels_of_very_different_norms():
    generator = torch.Generator().manual_seed(7)
    labels_LD = torch.randn(2000, 20, generator=generator) * 10 ** torch.linspace(-6, 6, 2000)[:, None]
    queries_QD = -torch.randn(6, 20, generator=generator).abs()
    for first_pass in PASSES:
        index = Exact(first_pass=first_pass).build([labels_LD.abs()], similarity="dot", device="cpu")
        assert rows_of(index.search(queries_QD, 9)) == brute_force(labels_LD.abs(), queries_QD, 9)


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_reduced_precision_of_the_process_does_not_lose_a_hit(setting):
    generator = torch.Generator().manual_seed(8)
    labels_LD = torch.randn(1, 64, generator=generator) + 1e-3 * torch.randn(4000, 64, generator=generator)
    queries_QD = torch.randn(8, 64, generator=generator)
    index = Exact(first_pass="float32").build([labels_LD], similarity="dot", device="cpu")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        assert rows_of(index.search(queries_QD, 10)) == brute_force(labels_LD, queries_QD, 10)
    finally:
        torch.set_float32_matmul_precision(before)


def test_cosine_ignores_length_and_zero_vectors_score_zero():
    labels_LD = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 8.0], [-1.0, 0.0]])
    index = Exact().build([labels_LD], similarity="cosine", device="cpu")
    (label_rows, scores), (zero_rows, zero_scores) = index.search(torch.tensor([[4.0, 0.0], [0.0, 0.0]]), 4)
    assert label_rows.tolist() == [0, 1, 2, 3]
    assert scores.tolist() == [1.0, 0.0, 0.0, -1.0]
    assert zero_rows.tolist() == [0, 1, 2, 3]
    assert zero_scores.tolist() == [0.0] * 4


def test_report_tells_what_was_built():
    chunks = [torch.ones(3, 8), torch.ones(2, 8)]
    report = Exact(first_pass="bfloat16").build(chunks, similarity="cosine", device="cpu").report
    assert (report.backend, report.labels, report.dimension, report.exact) == ("exact", 5, 8, True)
    assert report.memory_bytes == 5 * 8 * (4 + 2)
    assert report.options == {"first_pass": "bfloat16", "score_memory_mb": 0}
    assert report.versions == {"torch": torch.__version__}


def test_widths_must_agree_within_the_stream():
    with pytest.raises(DataError, match="dimension 3, expected 2"):
        Exact().build([torch.ones(1, 2), torch.ones(1, 3)], similarity="dot", device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there_is_an_error(device):
    with pytest.raises(DeviceError, match="sees 0 GPUs"):
        Exact().build([torch.ones(1, 2)], similarity="dot", device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("first_pass", ["auto", "float32", "float16"])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e16])
def test_gpu_answers_with_the_bits_of_the_cpu(first_pass, scale):
    generator = torch.Generator().manual_seed(9)
    labels_LD, queries_QD = torch.randn(5000, 48, generator=generator), torch.randn(40, 48, generator=generator)
    labels_LD[2500:] = labels_LD[:2500] * torch.linspace(1, 1.0001, 2500)[:, None]
    labels_LD, queries_QD[0] = labels_LD * scale, 0
    one = Exact().build([labels_LD], similarity="dot", device="cpu")
    other = Exact(first_pass=first_pass).build([labels_LD], similarity="dot", device="cuda")
    assert other.report.device_used == "cuda:0"
    for part_QD, k in ((queries_QD, 10), (queries_QD[3:4], 10), (queries_QD, 700)):
        expected, hits = one.search(part_QD, k), other.search(part_QD, k)
        assert expected.label_rows.tolist() == hits.label_rows.tolist()
        assert expected.scores.tobytes() == hits.scores.tobytes()
    rows = np.arange(0, 5000, 3)
    assert rows_of(one.search_among(queries_QD, 10, rows)) == rows_of(other.search_among(queries_QD, 10, rows))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e16])
def test_the_float16_pass_of_a_gpu_is_exact_too(scale):
    """Its arithmetic made by the CPU: labels that differ in the last bits of float16, and many ties."""
    generator = torch.Generator().manual_seed(4)
    labels_LD = torch.randn(3000, 20, generator=generator)
    labels_LD[1000:] = labels_LD[:1000].repeat(2, 1) * torch.linspace(1, 1.0001, 2000)[:, None]
    labels_LD, queries_QD = labels_LD * scale, torch.randn(30, 20, generator=generator)
    index = Exact(first_pass="float32").build([labels_LD], similarity="dot", device="cpu")
    narrow = replace(index, narrow=FirstPass.of(labels_LD, FLOAT16))
    assert rows_of(narrow.search(queries_QD, 10)) == brute_force(labels_LD, queries_QD, 10)
    assert narrow.search(queries_QD, 10).scores.tobytes() == index.search(queries_QD, 10).scores.tobytes()


@pytest.mark.parametrize(("first_pass", "device"), [("float16", "cpu"), ("bfloat16", "cuda"), ("int8", "cuda")])
def test_a_pass_of_another_device_is_refused(first_pass, device):
    with pytest.raises(DeviceError, match=f"first_pass '{first_pass}' keeps its promise on"):
        Exact(first_pass=first_pass)._checked_pass(torch.device(device), 100, 10)


@pytest.mark.parametrize("options", [{"first_pass": "int4"}, {"score_memory_mb": -1}, {"memory": 3}])
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        build_options(Exact, options, section="index")


@pytest.mark.parametrize("damage", ["no labels", "no facts", "text", "wrong name"])
def test_a_folder_that_cannot_be_read_is_an_artifact_error(tmp_path, damage):
    from safetensors.torch import save_file

    Exact().build([torch.ones(2, 2)], similarity="dot", device="cpu").save(tmp_path)
    if damage == "no labels":
        (tmp_path / "labels.safetensors").unlink()
    if damage == "no facts":
        (tmp_path / "index.json").write_text(json.dumps({"similarity": "dot"}))
    if damage == "text":
        (tmp_path / "labels.safetensors").write_text("hello")
    if damage == "wrong name":
        save_file({"labels": torch.ones(2, 2)}, tmp_path / "labels.safetensors")
    with pytest.raises(ArtifactError):
        Exact().load(tmp_path, device="cpu")


@pytest.mark.parametrize("first_pass", PASSES)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(1, 700),
    keep=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    queries=st.integers(0, 9),
    k=st.integers(1, 50),
)
def test_among_some_rows_equal_to_brute_force(first_pass, seed, labels, keep, queries, k):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-2, 3, (labels + queries, 5), generator=generator).float()  # also zero queries, and ties
    labels_LD, queries_QD = vectors[:labels], vectors[labels:]
    label_rows = (torch.rand(labels, generator=generator) < keep).nonzero().flatten().numpy()
    index = Exact(first_pass=first_pass).build([labels_LD], similarity="dot", device="cpu")
    hits = index.search_among(queries_QD, k, label_rows)
    expected = brute_force(labels_LD[label_rows], queries_QD, k)
    assert rows_of(hits) == [label_rows[found].tolist() for found in expected]


@pytest.mark.parametrize("first_pass", PASSES)
def test_among_some_rows_the_scores_have_the_bits_of_the_whole_search(first_pass):
    generator = torch.Generator().manual_seed(3)
    labels_LD, queries_QD = torch.randn(30_000, 200, generator=generator), torch.randn(20, 200, generator=generator)
    index = Exact(first_pass=first_pass).build([labels_LD], similarity="cosine", device="cpu")
    whole, label_rows = index.search(queries_QD, 50), np.arange(0, 30_000, 2)  # more than one slice of vectors
    among = index.search_among(queries_QD, 50, label_rows)
    for (whole_rows, whole_scores), (among_rows, among_scores) in zip(whole, among, strict=True):
        even = whole_rows % 2 == 0
        assert whole_rows[even].tolist() == among_rows[: even.sum()].tolist()
        assert whole_scores[even].tobytes() == among_scores[: even.sum()].tobytes()


@pytest.mark.parametrize("label_rows", [[0, 9], [-1, 2], [2, 1], [1, 1], [0.5], [[0]]])
def test_among_rows_that_cannot_be_is_an_error(label_rows):
    index = Exact().build([torch.eye(4)], similarity="dot", device="cpu")
    with pytest.raises(DataError, match="label rows must"):
        index.search_among(torch.eye(4), 2, np.array(label_rows))
