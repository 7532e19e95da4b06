"""Invariants: certified <= unbroken for every side, radius and k; figures are as announced; bad options are refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_words import some_text, toy

from xmc.check_contract import CheckContext
from xmc.checks.certify import Certify
from xmc.checks.certify_bench import Bench
from xmc.checks.certify_labels import measure_labels
from xmc.checks.certify_queries import measure_queries
from xmc.checks.certify_smoothing import measure_smoothing
from xmc.checks.label_matrix import LabelMatrix
from xmc.checks.substitution_attacks import QueryAttacker, greedy_attack, random_attack
from xmc.checks.variants import variants
from xmc.data.dataset import load_dataset
from xmc.data.tables import QueryTable
from xmc.encode.encoder import embed_texts
from xmc.errors import ConfigError, DataError
from xmc.retrieve.reranking import Reranking
from xmc.retrieve.retriever import Retriever
from xmc.substitutions.word_sets import Site, Substitutions
from xmc.values import Positives


@pytest.fixture(scope="module")
def context(tiny_run):
    queries = load_dataset("tiny").test
    retriever = Retriever.load(tiny_run, device="cpu")
    row_of = {label_id: row for row, label_id in enumerate(retriever.labels.ids)}
    ids = load_dataset("tiny").labels.ids
    rows = np.array([row_of[ids[row]] for row in queries.positives.label_rows], dtype=np.int32)
    positives = type(queries.positives)(queries.positives.offsets, rows, queries.positives.weights)
    queries = type(queries)(queries.ids, queries.texts, positives)
    return CheckContext(
        run=tiny_run,
        retriever=retriever,
        queries=queries,
        fit_queries=queries,
        train_counts_L=np.zeros(len(retriever.labels), dtype=np.int64),
        train_queries=1,
        search=lambda queries, *, k: retriever.search_embeddings(retriever.encode(queries.texts), k=k),
        new_version=None,
    )


def test_certified_is_at_most_unbroken(context):
    check = Certify(ks=(1, 2, 3), radii=(1, 0), sample=12, attacks=3, greedy=4, samples=8, listed=64)
    result = check.run(context)
    figures = {name: figure.value for name, figure in result.figures.items()}
    assert set(figures) == set(check.figures())
    assert figures["violations"] == 0
    for name, value in figures.items():
        if "_certified_" in name and "smoothed" not in name:
            assert 0 <= value <= figures[name.replace("certified", "unbroken")] <= 1
    for k in (1, 3):
        assert figures[f"query_kept_precision_at_{k}_radius_1"] <= figures[f"precision_at_{k}"]
        assert figures[f"query_certified_at_{k}_radius_1"] == pytest.approx(figures[f"query_unbroken_at_{k}_radius_1"])
    witnesses = result.tables["witnesses"]
    exact = [works for side, works in zip(witnesses["side"], witnesses["works"], strict=True) if side == "query"]
    assert exact and all(exact)
    for said in ("Query side", "Label side", "Smoothing of the query side", "Smoothing of the label side"):
        assert any(said in note for note in result.notes)


def test_the_precision_is_that_of_the_ranking_where_scores_are_equal(context):
    """Of few scores that stand often, with the label rows as the naive stable sort has them."""
    scores_QL = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (len(context.queries), 60)).astype(np.float32))
    bench = Bench(context.retriever, context.queries, None, None, (1, 5, 70), (1,), 0, 0, 0, 0, context.progress)
    ranked_QL = np.argsort(-scores_QL.numpy(), axis=1, kind="stable")
    positives = context.queries.positives
    for column, k in enumerate(bench.ks):
        wanted = [
            np.isin(row[:k], positives.label_rows[start:stop]).sum() / k
            for row, start, stop in zip(ranked_QL, positives.offsets[:-1], positives.offsets[1:], strict=True)
        ]
        assert bench.precision(scores_QL)[:, column].tolist() == wanted


def test_labels_of_one_vector_stand_by_row_where_the_index_is_approximate(context):
    """A product of matrices gives them scores that differ in their last bits, by where they stand in the matrix."""
    labels_LD = torch.randn(61, context.retriever.encoder.dimension, generator=torch.Generator().manual_seed(0))
    labels_LD[60] = labels_LD[0]
    retriever = SimpleNamespace(encoder=context.retriever.encoder, report=SimpleNamespace(exact=False))
    bench = Bench(retriever, context.queries, LabelMatrix(labels_LD), None, (1,), (1,), 0, 0, 0, 0, context.progress)
    texts = context.queries.texts[:5]
    for count in (1, 2, 5):
        for text, rows in zip(texts, bench.rank(texts[:count], 61), strict=False):
            scores_L = (labels_LD.double() @ bench.embed([text])[0].double()).numpy()
            assert rows.tolist() == np.argsort(-scores_L, kind="stable").tolist()


def test_the_same_seed_gives_the_same_figures(context):
    check = Certify(ks=(1,), radii=(1,), sample=5, attacks=2, greedy=2, sides=("query",))
    assert check.run(context).figures == check.run(context).figures


def test_an_encoder_without_a_sum_is_certified_by_listing(context, monkeypatch):
    def none(encoder, role):
        raise ConfigError("not a sum over words")

    check = Certify(ks=(1,), radii=(1,), sample=6, attacks=1, greedy=0, listed=10**6)
    additive = check.run(context).figures
    monkeypatch.setattr("xmc.checks.certify_bench.additive_texts", none)
    listed = check.run(context)
    assert listed.figures["query_certified_at_1_radius_1"] == additive["query_certified_at_1_radius_1"]
    nothing = Certify(ks=(1,), radii=(1,), sample=6, attacks=1, greedy=0, listed=0).run(context)
    assert nothing.figures["label_certified_at_1_radius_1"].value == 0
    assert any("Nothing can be proved of 6 of 6 queries" in note for note in nothing.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ks": ()}, "ks"),
        ({"ks": (5, 1)}, "ks"),
        ({"radii": (0, 1)}, "radii"),
        ({"radii": ()}, "radii"),
        ({"radii": (-1,)}, "radii"),
        ({"sides": ("both",)}, "sides"),
        ({"sample": 0}, r"check\.certify\.sample must be 1 to 1,000,000, got 0"),
        ({"listed": -1}, r"check\.certify\.listed must be 0 to 1,000,000, got -1"),
        ({"steps": 0}, "steps"),
        ({"steps": 4}, "steps"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Certify(**options)


def test_an_empty_set_is_refused(context, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="allow nothing"):
        Certify(substitutions=str(tmp_path / "empty.txt")).run(context)


@pytest.mark.parametrize(("kind", "said"), [("static", "exactly, by the sum"), ("tfidf", "exactly up to 0 rewritings")])
def test_it_is_said_how_exact_certificates_of_queries_are(kind, said):
    assert measure_queries(toy_bench(0, kind=kind)).notes[0].startswith(f"Query side: lists are certified {said}")


def test_attackers_stay_within_the_radius():
    sites = [Site(0, 1, "a", ("x", "y")), Site(2, 3, "b", ("x",)), Site(4, 5, "c", ("z",))]
    generator = np.random.default_rng(0)
    for radius in (1, 2, 0):
        attacked = random_attack("a b c", sites, radius, generator).split()
        changed = sum(one != other for one, other in zip(attacked, "abc", strict=True))
        assert changed == (radius or 3)
    steps = greedy_attack("a b c", sites, 5, lambda texts: -torch.tensor([t.count("x") for t in texts]).numpy(),
                          width=100, generator=generator)  # fmt: skip
    assert steps[:2] == ["x b c", "x x c"] or steps[:2] == ["a x c", "x x c"]
    assert len(steps) == 3


def toy_bench(seed, *, kind="static", attacks=0, greedy=0, listed=0, scale=1.0):
    """Labels of toy texts, and queries of which every rewriting can be ranked."""
    generator, texts, encoder, substitutions = toy(kind, seed, share=0.4)
    with torch.no_grad():
        next(encoder.module.parameters()).mul_(scale)
    retriever = SimpleNamespace(
        encoder=encoder,
        report=SimpleNamespace(exact=False),
        labels=SimpleNamespace(texts=texts, ids=texts),
        model=SimpleNamespace(label_vectors=lambda labels: ([embed_texts(encoder, texts, "label")], None)),
    )
    asked = [some_text(generator) for _ in range(3)]
    none = Positives(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    queries = QueryTable(["a", "b", "c"], asked, none)
    labels = LabelMatrix.of(retriever)
    return Bench(
        retriever, queries, labels, substitutions, (1, 3), (1, 2, 0), listed, attacks, greedy, 0, lambda *_: None
    )


@pytest.mark.parametrize(("random", "greedy"), [(300, 0), (0, 100)])
def test_attackers_of_queries_break_what_can_be_broken_and_nothing_else(random, greedy):
    broken = possible = 0
    for seed in range(3):
        bench = toy_bench(seed)
        attacker = QueryAttacker(bench.substitutions, bench.rank, bench.score, bench.ks, bench.radii)
        for text in bench.queries.texts:
            (before,) = bench.rank([text], 4)
            attacks = attacker.random(text, random, np.random.default_rng(seed))
            attacks += attacker.greedy(text, before.tolist(), greedy, np.random.default_rng(seed)) if greedy else []
            answers = attacker.answers(attacks)
            found_TN = attacker.broken(answers, before.tolist())
            lowest_TK = attacker.lowest_ranks(answers, before[:3].tolist())
            for place, radius in enumerate(bench.radii):
                after = bench.rank(list(variants(text, bench.substitutions.sites(text), radius)), 4)
                true_N = np.array([any(set(rows[:k]) != set(before[:k]) for rows in after) for k in bench.ks])
                assert (found_TN[place] <= true_N).all()
                ranks = [
                    [rows[:3].tolist().index(row) if row in rows[:3] else 3 for rows in after] for row in before[:3]
                ]
                assert (lowest_TK[place] <= np.max(ranks, axis=1)).all()
                if random and answers:
                    assert (found_TN[place] == true_N).all() and (lowest_TK[place] == np.max(ranks, axis=1)).all()
                broken, possible = broken + found_TN[place].sum(), possible + true_N.sum()
    assert broken >= 0.9 * possible > 0


def test_queries_of_which_nothing_is_proved_are_attacked_like_others(monkeypatch):
    monkeypatch.setattr(Bench, "additive", lambda self, role: None)
    broken = 0
    for seed in range(3):
        bench = toy_bench(seed, attacks=100)
        side = measure_queries(bench)
        for row, text in enumerate(bench.queries.texts):
            (before,) = bench.rank([text], 3)
            sites = bench.substitutions.sites(text)
            assert side.certified_QTN[row].all() == (not sites) == side.certified_QTN[row].any()
            for place, radius in enumerate(bench.radii):
                after = bench.rank(list(variants(text, sites, radius)), 3)
                true_N = [any(set(rows[:k]) != set(before[:k]) for rows in after) for k in bench.ks]
                assert side.broken_QTN[row, place].tolist() == true_N
                broken += sum(true_N)
    assert broken > 0


@pytest.mark.parametrize(("kind", "random", "greedy"), [("static", 8, 0), ("static", 0, 100), ("static dot", 8, 0)])
def test_attackers_of_labels_break_nothing_that_cannot_be_broken(kind, random, greedy, monkeypatch):
    monkeypatch.setattr("xmc.checks.certify_labels._LabelAttacker.witnesses", lambda self, found: None)
    broken = 0
    for seed in range(2):
        bench = toy_bench(seed, kind=kind, attacks=random, greedy=greedy)
        side = measure_labels(bench)
        assert side.violations == 0
        queries_QD = bench.embed(bench.queries.texts)
        ranked = bench.rank(bench.queries.texts, len(bench.labels))
        for place, radius in enumerate(bench.radii):
            lifts_QL = np.stack([
                (queries_QD @ bench.embed(list(variants(text, bench.substitutions.sites(text), radius)), "label").T)
                .numpy().max(axis=1)
                for text in bench.retriever.labels.texts
            ], axis=1)  # fmt: skip
            for query, rows in enumerate(ranked):
                for column, k in enumerate(bench.ks):
                    edge = float(queries_QD[query] @ bench.labels.labels_LD[rows[k - 1]])
                    assert side.broken_QTN[query, place, column] <= (lifts_QL[query, rows[k:]] > edge - 1e-5).any()
        broken += side.broken_QTN.sum()
    assert broken > 0


@pytest.mark.parametrize("listed", [0, 10**6])
def test_certificates_against_labels_are_the_same_however_short_the_vectors(listed):
    """For cosine an index gives all of them the length 1; encoders leave very short ones shorter."""
    plain, short = (measure_labels(toy_bench(2, listed=listed, scale=scale)) for scale in (1.0, 2.0**-66))
    assert 0 < plain.certified_QTN.sum() < plain.certified_QTN.size
    np.testing.assert_array_equal(short.certified_QTN, plain.certified_QTN)


def test_smoothed_scores_of_labels_that_rounding_could_turn_round_are_not_certified(monkeypatch):
    """Two labels, no substitutes, and as many samples as leave no doubt: only the last bits tell their scores apart."""
    monkeypatch.setattr("xmc.checks.certify_smoothing.half_width", lambda *_: 0.0)
    bench = toy_bench(0)
    tower = bench.retriever.encoder.towers["label"]
    red, blue, sea = (tower.tokenizer.encode(word).ids[0] for word in ("red", "blue", "sea"))
    for distance in (1e-6, 1e-2):
        with torch.no_grad():
            for token, height in ((red, 0.0), (sea, 1.0), (blue, distance)):
                tower.table_FD[token] = torch.tensor([1.0, height, 0.0, 0.0])
        retriever = SimpleNamespace(**{**vars(bench.retriever), "labels": SimpleNamespace(texts=["red", "blue"])})
        queries = replace(bench.queries, texts=["sea"] * 3)
        two = replace(bench, retriever=retriever, queries=queries, substitutions=Substitutions({}), ks=(1,))
        found = measure_smoothing(two, "label", samples=1, confidence=0.95, steps=1)
        assert found.certified_QTN.all() == found.certified_QTN.any() == (distance == 1e-2)


def test_a_second_stage_is_not_covered(context):
    reranked = replace(context.retriever, reranking=Reranking(reranker=None, depth=5, weight=1.0))
    with pytest.raises(ConfigError, match="the first stage only"):
        Certify(ks=(1,), radii=(1,), sample=5).run(replace(context, retriever=reranked))


def test_labels_that_are_more_than_their_text(context, monkeypatch):
    monkeypatch.setattr(Bench, "labels_from_text", False)
    result = Certify(ks=(1,), radii=(1,), sample=5, attacks=1, greedy=0).run(context)
    assert "query_certified_at_1_radius_1" in result.figures
    assert not any(name.startswith("label_") for name in result.figures)
    assert any("label side is left out" in note for note in result.notes)
    with pytest.raises(ConfigError, match="not the embeddings of their texts alone"):
        Certify(sides=("label",), sample=5).run(context)


def test_a_certificate_that_is_wrong_is_noticed(context, monkeypatch):
    def too_good(*arguments):
        return np.full((len(arguments[3]), arguments[2], len(arguments[1])), 1e9)

    monkeypatch.setattr("xmc.checks.worst_case.worst_gaps", too_good)
    result = Certify(ks=(1, 3), radii=(2,), sample=20, attacks=20, sides=("query",)).run(context)
    assert result.figures["violations"].value > 0
    assert result.figures["attacks"].value >= 20 * 20 / 2
    assert any("were broken" in note for note in result.notes)
