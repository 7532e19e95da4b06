"""Invariants, over every allowed edit of toy texts: a certified list never changes, a label that cannot leave never
does; where the certificate is exact, every list that never changes is certified and every witness works."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_words import some_text, toy

from xmc.checks import comparison
from xmc.checks.additive import additive_texts
from xmc.checks.label_matrix import LabelMatrix
from xmc.checks.query_certificate import QueryCertifier
from xmc.checks.variants import variant_count, variants
from xmc.encode.encoder import embed_texts
from xmc.substitutions.word_sets import Substitutions
from xmc_index_exact.exact import Exact

RADII, KS = (1, 2, 0), (1, 3)


def case(kind, seed, *, by_listing, mapped=False, scale=1.0, label_scale=1.0):
    generator, _, encoder, substitutions = toy(kind, seed)
    with torch.no_grad():
        next(encoder.module.parameters()).mul_(scale)
    labels_LD = torch.from_numpy(generator.normal(size=(12, 4)).astype(np.float32))
    if kind == "static dot":
        labels_LD *= torch.logspace(0, 2, 12)[torch.from_numpy(generator.permutation(12)), None]  # of many lengths
    labels_LD[5] = labels_LD[2]  # a tie for every query
    if encoder.similarity == "cosine":
        labels_LD = torch.nn.functional.normalize(labels_LD, dim=1)
    labels_LD *= label_scale
    labels = LabelMatrix(labels_LD)
    matrix_ED = torch.eye(4)
    if mapped:
        matrix_ED = torch.from_numpy(generator.normal(size=(4, 4)).astype(np.float32))
        labels = LabelMatrix.mapped(labels_LD, matrix_ED)
    index = Exact().build([labels_LD], similarity="dot" if mapped else encoder.similarity, device="cpu")

    def rank(texts):
        return [rows for rows, _ in index.search(embed_texts(encoder, texts, "query") @ matrix_ED.T, 12)]

    certifier = QueryCertifier(
        None if by_listing else additive_texts(encoder, "query"),
        substitutions,
        labels,
        lambda texts: embed_texts(encoder, texts, "query"),
        KS,
        RADII,
        listed=10**6 if by_listing else 0,
    )
    return some_text(generator), rank, certifier


@pytest.mark.parametrize(
    ("kind", "by_listing", "exact", "mapped"),
    [
        ("static", False, True, False),
        ("static", False, True, True),
        ("static dot", False, True, False),
        ("tfidf", False, False, False),
        ("tfidf cosine", False, False, True),
        ("tfidf", True, True, False),
    ],
)
def test_against_every_edit(kind, by_listing, exact, mapped, monkeypatch):
    monkeypatch.setattr(comparison, "FIRST", 4)  # so that the bounds have labels to leave out
    monkeypatch.setattr(comparison, "AT_ONCE", 2)
    certified = compared = 0
    for seed in range(25):
        text, rank, certifier = case(kind, seed, by_listing=by_listing, mapped=mapped)
        (before,) = rank([text])
        found = certifier.certify(text, before[: max(KS)])
        compared += found.compared
        for place, radius in enumerate(RADII):
            texts = list(variants(text, certifier.substitutions.sites(text), radius))
            after = rank(texts)
            for column, k in enumerate(KS):
                stays = all(set(rows[:k]) == set(before[:k]) for rows in after)
                certified += found.lists_TN[place, column]
                assert stays or not found.lists_TN[place, column]
                if exact:
                    assert found.lists_TN[place, column] == stays
                    if not stays:
                        attacked = after[texts.index(found.witnesses[place, column].text)]
                        assert set(attacked[:k]) != set(before[:k])
            for leading in range(max(KS)):
                lowest = max(rows.tolist().index(before[leading]) for rows in after)
                for k in range(leading + 1, max(KS) + 1):
                    assert lowest < k or found.rivals_TK[place, leading] >= k
    assert certified > 0
    assert compared < 25 * 12


def test_nothing_is_said_of_long_texts_without_a_sum():
    text, rank, certifier = case("tfidf", 1, by_listing=True)
    certifier.listed = 0
    assert certifier.certify(text, rank([text])[0][:3]) is None


def test_small_radii_are_listed_where_large_ones_are_too_many():
    text, rank, certifier = case("static", 3, by_listing=True)
    (before,) = rank([text])
    whole = certifier.certify(text, before[:3])
    counts = [variant_count(certifier.substitutions.sites(text), radius) for radius in RADII]
    assert counts[0] < counts[1]
    certifier.listed = counts[0]
    part = certifier.certify(text, before[:3])
    assert whole.lists_TN[0].any()
    assert (part.lists_TN[0] == whole.lists_TN[0]).all()
    assert (part.rivals_TK[0] == whole.rivals_TK[0]).all()
    assert not part.lists_TN[1:].any()
    assert (part.rivals_TK[1:] >= max(KS)).all()


def test_radii_by_listing_and_by_sums_go_together():
    lost = 0
    for seed in range(20):
        text, rank, certifier = case("tfidf", seed, by_listing=False)
        (before,) = rank([text])
        certifier.listed = variant_count(certifier.substitutions.sites(text), RADII[1])
        part = certifier.certify(text, before[:3])
        certifier.texts, certifier.listed = None, 10**6
        whole = certifier.certify(text, before[:3])
        assert part.lists_TN.shape == (3, 2) and part.rivals_TK.shape == (3, 3)
        assert (part.lists_TN[:2] == whole.lists_TN[:2]).all() and (part.rivals_TK[:2] == whole.rivals_TK[:2]).all()
        assert (part.lists_TN <= whole.lists_TN).all()
        assert (part.rivals_TK >= np.minimum(whole.rivals_TK, max(KS))).all(), "more are not counted"
        assert set(part.witnesses) == {tuple(place) for place in np.argwhere(~part.lists_TN).tolist()}
        lost += whole.lists_TN[0].any() and not whole.lists_TN[1].any()
    assert lost > 0, "only the larger of the listed radii leaves nothing to prove"


@pytest.mark.parametrize("by_listing", [False, True])
def test_a_text_without_a_word_that_may_change_keeps_its_list(by_listing):
    """Also where all scores are 0, and where there are more rewritings than are listed: there is none but the text."""
    _, rank, certifier = case("static", 0, by_listing=by_listing)
    certifier.listed = 0
    (before,) = rank(["$"])
    found = certifier.certify("$", before[: max(KS)])
    assert found.lists_TN.all() and not found.witnesses
    assert (found.rivals_TK == [0, 1, 2]).all()


@pytest.mark.parametrize("by_listing", [False, True])
def test_scores_near_the_end_of_float32_are_certified_only_where_nothing_is_lost(by_listing, monkeypatch):
    """Squares of 1e-25 vanish, scores below 2^-126 have fewer and fewer bits, and those below 2^-149 tie."""
    monkeypatch.setattr(comparison, "FIRST", 4)
    kept = 0
    for seed, scale, label_scale in [(8, 1e-25, 1.0), (2, 1e-25, 1.0), (2, 1e-22, 1e-22), (2, 1e-30, 1e-30)]:
        text, rank, certifier = case("static dot", seed, by_listing=by_listing, scale=scale, label_scale=label_scale)
        (before,) = rank([text])
        found = certifier.certify(text, before[: max(KS)])
        for place, radius in enumerate(RADII):
            after = rank(list(variants(text, certifier.substitutions.sites(text), radius)))
            stays = [all(set(rows[:k]) == set(before[:k]) for rows in after) for k in KS]
            assert (found.lists_TN[place] <= stays).all()
            lowest = [max(rows.tolist().index(label) for rows in after) for label in before[: max(KS)]]
            assert (lowest <= np.where(found.rivals_TK[place] < max(KS), found.rivals_TK[place], np.inf)).all()
            kept += (found.rivals_TK[place] < max(KS)).sum()
    assert kept > 0, "scores of 1e-25 lose nothing"


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize(
    "labels",
    [
        [[20, 0], [19, 0], [18, 0], [17, 0], [16, 0], [0, 1e4]],
        [[200, -1e4], [199, -1e4], [198, -1e4], [197, -1e4], [150, 0]],
        [[10, -1], [9.99, -1], [9.98, -1], [9.97, -1], [9.9, 1]],
        [[0.93, -10], [0.92, -10], [0.91, -10], [0.9, -10], [-0.93, 10]],
    ],
)
def test_a_small_turn_of_the_query_that_lifts_a_label_is_noticed(labels, scale, monkeypatch):
    """The last label comes first; it is not among those that are compared at once."""
    monkeypatch.setattr(comparison, "FIRST", 4)
    vector_of = {"start": [1.0, 0.0], "one": [1.0, 0.1]}
    embed = lambda texts: torch.tensor([vector_of[text] for text in texts])  # noqa: E731
    matrix = LabelMatrix(scale * torch.tensor(labels))
    certifier = QueryCertifier(None, Substitutions({"start": ("one",)}), matrix, embed, (1,), (1,))
    assert not certifier.certify("start", np.array([0])).lists_TN.any()


def test_vectors_too_long_for_their_norm_are_not_certified():
    """In float32 the norm of a vector of 1e20 is infinite, and the vector divided by it zero."""
    _, _, encoder, _ = toy("static", 0)
    tower = encoder.towers["query"]
    red, blue = (tower.tokenizer.encode(word).ids for word in ("red", "blue"))
    with torch.no_grad():
        tower.table_FD[red] = 1e17
        tower.table_FD[blue] = 1e20  # the same direction
    labels = LabelMatrix(torch.nn.functional.normalize(torch.tensor([[-1.0, 0, 0, 0], [1, 1, 1, 1]]), dim=1))
    index = Exact().build([labels.labels_LD], similarity="cosine", device="cpu")
    embed = lambda texts: embed_texts(encoder, texts, "query")  # noqa: E731
    assert [rows.tolist() for rows, _ in index.search(embed(["red", "blue"]), 1)] == [[1], [0]]
    for texts in (additive_texts(encoder, "query"), None):
        certifier = QueryCertifier(texts, Substitutions({"red": ("blue",)}), labels, embed, (1,), (1,))
        found = certifier.certify("red", np.array([1]))
        assert found is None or not found.lists_TN.any()


def test_fewer_labels_than_k():
    text, _, certifier = case("static", 2, by_listing=False)
    certifier.labels = LabelMatrix(certifier.labels.labels_LD[:2])
    scores_L = certifier.labels.labels_LD @ certifier.embed([text])[0]
    found = certifier.certify(text, np.argsort(-scores_L.numpy(), kind="stable"))
    assert found.lists_TN[:, 1].all()
    assert found.rivals_TK.shape == (3, 2)


def test_labels_are_twins_where_the_index_holds_one_vector():
    generator = np.random.default_rng(0)
    one_LD = generator.normal(size=(200, 3)).astype(np.float32)
    nearly_LD = one_LD * np.float32(1 + 2**-23)  # the same direction, but for what rounding does to it
    labels_LD = torch.from_numpy(np.concatenate([one_LD, nearly_LD]))
    retriever = SimpleNamespace(
        model=SimpleNamespace(label_vectors=lambda labels: (iter(labels_LD.split(150)), None)),
        labels=None,
        encoder=SimpleNamespace(similarity="cosine"),
    )
    twins_L = LabelMatrix.of(retriever).twins_L
    index = Exact().build([labels_LD], similarity="cosine", device="cpu")
    ties = np.ones(200, dtype=bool)
    for query_D in generator.normal(size=(40, 3)):
        hits = index.search(torch.from_numpy(query_D[None].astype(np.float32)), 400)
        score_L = np.empty(400, np.float32)
        score_L[hits.label_rows] = hits.scores
        ties &= score_L[:200] == score_L[200:]
    assert 0 < ties.sum() < 200
    assert not (twins_L[:200] == twins_L[200:])[~ties].any(), "what does not tie for some query is no twin"


def test_the_rounding_of_two_steps_is_allowed_for_where_they_cancel():
    """u . fl(M h) is off by what |u|, M and h are long, however short M'u is."""
    generator = np.random.default_rng(0)
    labels_LE = torch.from_numpy(generator.normal(size=(6, 40)).astype(np.float32))
    matrix_ED = torch.from_numpy(generator.normal(size=(40, 3)).astype(np.float32))
    off_DE = torch.linalg.lstsq(matrix_ED.double(), labels_LE.double().T).solution.T @ matrix_ED.double().T
    labels_LE = (labels_LE.double() - (1 - 1e-4) * off_DE).float()  # all but orthogonal to the columns of M
    labels = LabelMatrix.mapped(labels_LE, matrix_ED)
    lengths = torch.linalg.vector_norm(labels_LE, dim=1).max(), torch.linalg.norm(matrix_ED)
    assert labels.longest.underflow == pytest.approx(float(lengths[0]) * (1 + 40 / 3), rel=1e-5)
    assert labels.longest.rounding == pytest.approx(float(lengths[1]) * labels.longest.underflow, rel=1e-5)


@pytest.mark.parametrize(("query_length", "label_length"), [(1, 1e6), (1e6, 1), (1e6, 1e6)])
def test_listed_rewritings_that_tie_are_not_certified_however_long_the_vectors(query_length, label_length):
    generator = np.random.default_rng(0)
    for _ in range(20):
        one_D, other_D, third_D = generator.normal(size=(3, 3)).astype(np.float32)
        vector_of = {"one": query_length * one_D, "start": query_length * (one_D + np.float32(1e-3) * third_D)}
        tied_LD = np.stack([other_D + np.cross(one_D, third_D), other_D])  # for "one"
        labels_LD = torch.from_numpy(label_length * tied_LD)
        embed = lambda texts, of=vector_of: torch.from_numpy(np.stack([of[text] for text in texts]))  # noqa: E731
        certifier = QueryCertifier(None, Substitutions({"start": ("one",)}), LabelMatrix(labels_LD), embed, (1,), (1,))
        found = certifier.certify("start", np.argsort(-(labels_LD @ embed(["start"])[0]).numpy(), kind="stable")[:1])
        assert not found.lists_TN.any()
