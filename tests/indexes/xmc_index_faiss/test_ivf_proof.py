"""Invariants: every certified answer is that of brute force, ties and all; so is every answer with `exact`; with the
bounds of the cells shrunk, false certificates come up."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.config import build_options
from xmc.errors import ConfigError
from xmc.testing import check_index
from xmc_index_faiss import ivf_proof
from xmc_index_faiss.ivf import Ivf

STORAGES = {"flat": {}, "sq8": {"storage": "sq8"}, "pq": {"storage": "pq", "pq_bits": 4, "pq_m": 2}}
KINDS = ["random", "tight", "whole", "copies", "far", "norms"]


def vectors_of(kind, labels, queries, dimension, seed):
    """Random; tight clusters; whole numbers (many ties); copies of a few; clusters far away; very unlike norms."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "tight":
        return clustered(labels, queries, dimension, seed=seed, spread=0.05)
    vectors = torch.randn(labels + queries, dimension, generator=generator)
    if kind == "whole":
        vectors = vectors.round()
    if kind == "copies":
        vectors[:labels] = vectors[torch.randint(max(1, labels // 20), (labels,), generator=generator)]
    if kind == "far":
        vectors[:labels] += 50 * torch.randint(-1, 2, (labels, 1), generator=generator)
    if kind == "norms":
        vectors *= 10 ** torch.linspace(-3, 3, len(vectors))[torch.randperm(len(vectors), generator=generator)][:, None]
    return vectors[:labels], vectors[labels:]


@pytest.mark.parametrize("storage", STORAGES)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    labels=st.integers(16, 400),
    cells=st.integers(1, 16),
    nprobe=st.integers(1, 16),
    k=st.integers(1, 30),
)
def test_certified_and_exact_answers_are_those_of_brute_force(storage, seed, kind, labels, cells, nprobe, k):
    labels_LD, queries_QD = vectors_of(kind, labels, 6, 8, seed)
    options = {"nlist": cells, "nprobe": nprobe, **STORAGES[storage]}
    index = Ivf(**options).build([labels_LD], similarity="dot", device="cpu")
    expected = brute_force(labels_LD, queries_QD, k)
    hits, exact_Q = index.search_certified(queries_QD, k)
    assert [rows for rows, proven in zip(rows_of(hits), exact_Q, strict=True) if proven] == [
        rows for rows, proven in zip(expected, exact_Q, strict=True) if proven
    ]
    exact = replace(index, options=replace(index.options, exact=True))
    assert rows_of(exact.search(queries_QD, k)) == expected


@pytest.mark.parametrize("storage", STORAGES)
def test_many_queries_are_proven_a_few_at_a_time_and_alike(storage, monkeypatch):
    labels_LD, queries_QD = clustered(1500, 60, spread=0.1)
    index = Ivf(nlist=30, nprobe=4, **STORAGES[storage]).build([labels_LD], similarity="dot", device="cpu")
    exact = replace(index, options=replace(index.options, exact=True))
    proven_Q = index.search_certified(queries_QD, 5)[1]
    answers, together = exact.search(queries_QD, 5), []
    state = ivf_proof._State
    monkeypatch.setattr(ivf_proof, "NUMBERS", 7 * max(30, 5 * index.prover.deepen + ivf_proof.EXTRA))
    monkeypatch.setattr(ivf_proof, "_State", lambda *given: together.append(len(given[1])) or state(*given))
    assert index.search_certified(queries_QD, 5)[1].tolist() == proven_Q.tolist()
    found = exact.search(queries_QD, 5)
    assert rows_of(found) == rows_of(answers) and found.scores.tobytes() == answers.scores.tobytes()
    assert max(together) <= 7 and sum(together) == 2 * len(queries_QD)
    assert len(index.search_certified(queries_QD[:0], 5)[1]) == len(exact.search(queries_QD[:0], 5)) == 0


@pytest.mark.parametrize("storage", ["flat", "sq8"])
def test_certificates_come_with_more_cells(storage):
    labels_LD, queries_QD = clustered(2000, 50, spread=0.2)
    index = Ivf(nlist=50, **STORAGES[storage]).build([labels_LD], similarity="dot", device="cpu")
    shares = [
        index.with_search_options(step).search_certified(queries_QD, 5)[1].mean() for step in index.search_ladder()
    ]
    assert shares == sorted(shares)
    assert shares[-1] > 0.9


def test_without_the_radius_wrong_certificates_come_up():
    """The protection removed: or the property above proves nothing."""
    wrong = 0
    for seed in range(30):
        labels_LD, queries_QD = vectors_of("random", 300, 20, 8, seed)
        index = Ivf(nlist=12, nprobe=2).build([labels_LD], similarity="dot", device="cpu")
        shrunk = replace(index.prover.bounds, radii_C=index.prover.bounds.radii_C * 0.5)
        index = replace(index, prover=replace(index.prover, bounds=shrunk))
        hits, exact_Q = index.search_certified(queries_QD, 5)
        same_Q = [one == other for one, other in zip(rows_of(hits), brute_force(labels_LD, queries_QD, 5), strict=True)]
        wrong += int((exact_Q & ~np.array(same_Q)).sum())
    assert wrong > 5


@pytest.mark.parametrize("cells", [0, 600], ids=["usual", "of fewer labels than are asked for"])
def test_most_cells_are_left_alone_where_clusters_are_tight(cells, monkeypatch):
    labels_LD, queries_QD = clustered(3000, 30, spread=0.1)
    index = Ivf(exact=True, nprobe=2, nlist=cells).build([labels_LD], similarity="dot", device="cpu")
    monkeypatch.setattr("xmc_index_faiss.ivf_proof.scan_rows", None)  # no answer needs all labels
    assert rows_of(index.search(queries_QD, 5)) == brute_force(labels_LD, queries_QD, 5)


@pytest.mark.parametrize("storage", STORAGES)
def test_contract_of_the_exact_search(storage):
    if storage != "pq":  # which cannot hold one label
        check_index(Ivf(exact=True, **STORAGES[storage]), exact=True)
    assert (
        Ivf(exact=True, **STORAGES[storage]).build([clustered(500, 1)[0]], similarity="dot", device="cpu").report.exact
    )


def test_codes_alone_prove_nothing():
    labels_LD, queries_QD = clustered(500, 4)
    index = Ivf(storage="sq8", rerank=0, nprobe=100).build([labels_LD], similarity="dot", device="cpu")
    assert not index.search_certified(queries_QD, 3)[1].any()
    with pytest.raises(ConfigError, match="exact needs the full vectors"):
        build_options(Ivf, {"storage": "pq", "rerank": 0, "exact": True}, section="index")


def test_certificates_survive_a_save(tmp_path):
    labels_LD, queries_QD = clustered(1000, 20, spread=0.2)
    index = Ivf(nprobe=8).build([labels_LD], similarity="cosine", device="cpu")
    index.save(tmp_path)
    loaded = Ivf(nprobe=8).load(tmp_path, device="cpu")
    before, after = index.search_certified(queries_QD, 3)[1], loaded.search_certified(queries_QD, 3)[1]
    assert before.any()
    assert before.tolist() == after.tolist()


@pytest.mark.parametrize("options", [{}, {"storage": "sq8"}, {"storage": "pq", "pq_bits": 5, "pq_m": 4}])
def test_what_faiss_says_is_within_the_error_of_the_true_score(options):
    labels_LD, queries_QD = clustered(2000, 30)
    labels_LD, queries_QD = labels_LD * 3, queries_QD * 5
    index = Ivf(**options).build([labels_LD], similarity="dot", device="cpu")
    scores_QL, rows_QL = index.faiss_index.search(queries_QD.numpy(), 300)
    true_QL = np.take_along_axis((queries_QD.double() @ labels_LD.double().T).numpy(), np.maximum(rows_QL, 0), 1)
    excess_Q = np.where(rows_QL >= 0, true_QL - scores_QL, -np.inf).max(1)
    errors_Q = index.prover.score_errors(queries_QD.numpy())
    assert (excess_Q <= errors_Q).all()
    assert errors_Q.max() < (1e-3 if not options else 20), "a wide bound would be right and useless"


@pytest.mark.parametrize("storage", ["fp16", "sq8"])
def test_rounding_of_centres_far_longer_than_the_labels_is_in_the_error(storage, monkeypatch):
    """All but equal labels: their codes lose far less than float32 does of the product with a centre of norm 1."""
    monkeypatch.setattr("xmc_index_faiss.ivf_training.scale_of_centres", lambda *_: 1.0)  # as saved indexes may have it
    generator = torch.Generator().manual_seed(0)
    labels_LD = 1e-4 * (1 + torch.randint(-50, 50, (600, 2), generator=generator) * 2.0**-20)
    queries_QD = torch.randn(50, 2, generator=generator)
    index = Ivf(storage=storage, exact=True, nlist=1, nprobe=1).build([labels_LD], similarity="dot", device="cpu")
    assert rows_of(index.search(queries_QD, 10)) == brute_force(labels_LD, queries_QD, 10)


def test_rounding_is_in_the_error_also_where_codes_lose_nothing(monkeypatch):
    """One cell around 1, and labels whose distance from there float16 holds."""
    monkeypatch.setattr("xmc_index_faiss.ivf_training.scale_of_centres", lambda *_: 1.0)
    labels_LD = torch.arange(1, 33).repeat(30)[:, None] * 2.0**-11
    queries_QD = torch.randn(200, 1, generator=torch.Generator().manual_seed(0)).abs()
    index = Ivf(storage="fp16", nlist=1).build([labels_LD], similarity="dot", device="cpu")
    assert index.prover.bounds.largest_error == 0
    scores_QL, rows_QL = index.faiss_index.search(queries_QD.numpy(), len(labels_LD))
    true_QL = queries_QD.double().numpy() * labels_LD.double().numpy()[rows_QL, 0]
    assert ((true_QL - scores_QL).max(1) <= index.prover.score_errors(queries_QD.numpy())).all()


def test_nothing_is_proven_or_left_out_over_codes_that_overflowed(monkeypatch):
    """What is saved may hold them; faiss leaves out the labels whose scores they make NaN."""
    monkeypatch.setattr("xmc_index_faiss.stream.LARGEST_FLOAT16", np.inf)
    generator = torch.Generator().manual_seed(0)
    labels_LD = 65_536.0 * torch.randint(-8, 9, (60, 4), generator=generator)
    queries_QD = torch.randn(50, 4, generator=generator)
    index = Ivf(storage="fp16", nlist=3, nprobe=3).build([labels_LD], similarity="dot", device="cpu")
    assert not index.search_certified(queries_QD, 3)[1].any()
    exact = replace(index, options=replace(index.options, exact=True))
    assert rows_of(exact.search(queries_QD, 3)) == brute_force(labels_LD, queries_QD, 3)
