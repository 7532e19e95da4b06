"""Invariants: each check keeps the contract; its figures are those of a loop over the made-up run; what it cannot do it
refuses with what to do instead."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from xmc.api import ConfigError, DataError
from xmc.checks.calibrate import Calibrate
from xmc.checks.conformal import Conformal
from xmc.checks.exactness import Exactness
from xmc.checks.pairs import retrieved_pairs, without_positives
from xmc.retrieve.fitted import LABEL_SETS_FILE
from xmc.testing import check_check
from xmc.testing.check_cases import ExampleIndex, example_context
from xmc.values import Hits, Positives

CHECKS = [
    Calibrate(),
    Calibrate(method="platt", ks=(1,), top=3),
    Calibrate(method="temperature", bootstrap_samples=0),
    Calibrate(unanswerable=0.3),
    Conformal(alpha=0.2),
    Conformal(alpha=0.3, scored_by="score", also=()),
    Exactness(),
    Exactness(ks=(3,), sample=20),
]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_contract(check):
    check_check(check)


@pytest.fixture(scope="module")
def context():
    return example_context()


def listed(context, k):
    """Label rows, scores and positives of each judged query."""
    hits = context.search(context.queries, k=k)
    positives = context.queries.positives
    bounds = zip(positives.offsets[:-1], positives.offsets[1:], strict=True)
    return [
        (rows.tolist(), scores.tolist(), set(positives.label_rows[a:b].tolist()))
        for (rows, scores), (a, b) in zip(hits, bounds, strict=True)
    ]


def test_calibration_makes_the_error_small_and_says_what_it_was(context):
    figures = Calibrate(unanswerable=0.0).run(context).figures
    for k in (1, 5):
        after, before = figures[f"ece_at_{k}"], figures[f"ece_before_at_{k}"]
        assert after.value < before.value / 2 and after.value < 4 * figures[f"ece_by_chance_at_{k}"].value


def test_brier_score_and_table_are_those_of_the_pairs(context, tmp_path):
    kept = {}

    class Keeper:
        def __init__(self, kind, facts):
            kept.update(kind=kind, facts=facts)

        def __enter__(self):
            return tmp_path

        def __exit__(self, *error):
            return None

    def search(queries, *, k):
        hits = context.search(queries, k=k)
        return replace(hits, scores=np.where(hits.query_rows() < 4, np.float32(0), hits.scores))

    keeping = replace(context, search=search, new_version=lambda kind, *, facts=None: Keeper(kind, facts))
    result = Calibrate(ks=(5,), first_ranks=(1, 3), unanswerable=0.0).run(keeping)
    assert kept == {"kind": "calibration", "facts": {"model": {"encoder": "0", "index": "0"}}}
    bands = json.loads((tmp_path / "calibration.json").read_text())["bands"]
    squares, pairs = 0.0, 0
    for rows, scores, positives in listed(keeping, 5):
        probability = float(scores[0] != 0)  # 0 for a query that matches nothing
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1):
            band = bands[-1] if rank >= bands[-1]["first_rank"] else bands[0]
            probability = min(probability, np.interp(score, band["scores"], band["probabilities"]))
            squares += (probability - (row in positives)) ** 2
            pairs += 1
    assert result.figures["brier_at_5"].value == pytest.approx(squares / pairs)
    table = result.tables["reliability"]
    assert sum(n for n, stage in zip(table["pairs"], table["stage"], strict=True) if stage == "after") == pairs


def test_queries_that_nothing_matches_lower_the_probability_of_a_first_hit(context):
    every = Calibrate(ks=(1,), bootstrap_samples=0, unanswerable=0.0).run(context).tables["reliability"]
    some = Calibrate(ks=(1,), bootstrap_samples=0, unanswerable=0.5).run(context).tables["reliability"]
    rates = [np.average(table["hit_rate"], weights=table["pairs"]) for table in (every, some)]
    assert rates[1] == pytest.approx(rates[0] / 2, abs=0.1) and sum(some["pairs"]) == sum(every["pairs"])


def test_a_query_counts_as_unanswerable_however_few_hits_are_looked_at(context):
    """With the first hit alone, nothing would be left of a query whose first hit is right: the next one takes it."""
    tables = [
        Calibrate(top=top, ks=(1,), bootstrap_samples=0, unanswerable=0.5).run(context).tables["reliability"]
        for top in (1, 10)
    ]
    assert sum(tables[0]["pairs"]) == sum(tables[1]["pairs"]) and tables[0]["hit_rate"] == tables[1]["hit_rate"]


def test_it_is_said_when_no_cut_off_can_tell_that_nothing_matches(context):
    """Queries whose best two hits are always right: their scores say nothing of other texts."""
    found = context.search(context.queries, k=2)
    right = Positives(found.offsets, found.label_rows.astype(np.int32), np.ones(len(found.label_rows), np.float32))
    queries = replace(context.queries, positives=right)
    easy = replace(context, queries=queries, fit_queries=queries)
    notes = [Calibrate(bootstrap_samples=0, unanswerable=share).run(easy).notes for share in (0.0, 0.05)]
    assert ["no cut-off tells a text" in each[0] for each in notes] == [True, False], notes


def test_without_its_positives_a_query_has_the_rest_of_its_hits(context):
    hits = context.search(context.queries, k=5)
    counts = context.queries.positives.counts()
    pairs = retrieved_pairs(hits, context.queries.positives, labels=60)
    chosen = np.arange(len(counts)) % 3 == 0
    left = without_positives(pairs, chosen, counts)
    for query, (rows, _, positives) in enumerate(listed(context, 5)):
        mine = left.query_rows_H == query
        expected = [row for row in rows if not (chosen[query] and row in positives)]
        assert left.label_rows_H[mine].tolist() == expected
        assert left.ranks_H[mine].tolist() == list(range(1, len(expected) + 1))
    assert left.positives == sum(counts[~chosen])


def test_the_judged_queries_that_nothing_matches_are_drawn(context):
    pairs = retrieved_pairs(context.search(context.queries, k=5), context.queries.positives, labels=60)
    check = Calibrate(unanswerable=0.3)
    left = check._some_unanswered(context, pairs)
    bare_Q = np.bincount(left.query_rows_H, left.relevant_H, pairs.queries) == 0
    known_Q = np.bincount(pairs.query_rows_H, pairs.relevant_H, pairs.queries) > 0
    hidden = np.flatnonzero(bare_Q & known_Q)
    assert 0.2 < len(hidden) / known_Q.sum() < 0.4 and np.median(hidden) > 0.25 * pairs.queries
    assert check._some_unanswered(context, pairs).positives == left.positives, "by the seed"


def test_propensities_need_training_queries(context):
    assert "ece_propensity_at_5" in Calibrate().run(context).figures
    assert "ece_propensity_at_5" not in Calibrate().run(replace(context, train_queries=2)).figures


def test_the_sets_of_the_judged_queries_are_counted_one_by_one(context, tmp_path):
    keep_here = replace(context, new_version=lambda kind, facts: nullcontext(tmp_path))
    result = Conformal(alpha=0.2, also=()).run(keep_here)
    (cut_off,) = {
        c
        for c, risk in zip(result.tables["sets"]["cut_off"], result.tables["sets"]["risk"], strict=True)
        if risk[0] == "f"
    }
    missed, sizes = [], []
    for rows, scores, positives in listed(context, 1000):
        kept = {row for row, score in zip(rows, scores, strict=True) if np.float64(score) - scores[0] >= cut_off}
        missed.append(1 - len(kept & positives) / len(positives))
        sizes.append(len(kept))
    assert result.figures["false_negative_rate"].value == pytest.approx(np.mean(missed))
    assert result.figures["set_size"].value == pytest.approx(np.mean(sizes))
    coverage = result.figures["coverage"]
    assert coverage.value >= 1 - np.mean(missed) or result.figures["coverage_set_size"].value < 2
    assert coverage.low <= coverage.value <= coverage.high
    kept_facts = json.loads((tmp_path / LABEL_SETS_FILE).read_text(encoding="utf-8"))
    assert (kept_facts["scored_by"], kept_facts["most_labels"]) == ("gap", 1000)


def test_sets_shrink_as_alpha_grows(context):
    sets = Conformal(alpha=0.05, also=(0.1, 0.2, 0.3, 0.5)).run(context).tables["sets"]
    for risk in ("false-negatives", "coverage"):
        sizes = [size for name, size in zip(sets["risk"], sets["set_size"], strict=True) if name == risk]
        assert sizes == sorted(sizes, reverse=True) and len(sizes) == 5


def test_further_alphas_that_cannot_be_kept_are_left_out(context):
    sets = Conformal(alpha=0.3, also=(0.001,)).run(context).tables["sets"]
    assert set(sets["alpha"]) == {0.3}


def test_too_few_queries_are_refused_before_anything_is_kept(context):
    few = replace(context, fit_queries=context.fit_queries.take(np.arange(8)), new_version=None)
    with pytest.raises(DataError, match=r"alpha = 0\.1 needs at least 9 calibration queries, got 8\."):
        Conformal(alpha=0.1).run(few)


def test_a_calibration_whose_figures_fail_is_not_kept(context):
    with pytest.raises(ConfigError, match=r"must have a finite \(B \+ 1\)\^A"):
        Calibrate(propensity_a=1e30, bootstrap_samples=0).run(replace(context, new_version=None))


def test_lists_too_short_for_alpha_are_refused(context):
    with pytest.raises(DataError, match=r"cannot be kept.*Raise check\.conformal\.most_labels"):
        Conformal(alpha=0.1, most_labels=1).run(context)


class Careless(ExampleIndex):
    """Leaves out the best label, and says so of itself when asked for proofs or not."""

    exact = False
    proofs = 0.0

    @property
    def report(self):
        return replace(super().report, exact=self.exact)

    def search(self, queries_QD, k):
        return super().search(queries_QD, k + 1) if k == 0 else drop_first(super().search(queries_QD, k + 1))


class Certifying(Careless):
    def search_certified(self, queries_QD, k):
        hits = ExampleIndex.search(self, queries_QD, k)
        return hits, torch.arange(len(queries_QD)) % 4 == 0


class Lying(Careless):
    exact = True


def drop_first(hits):
    kept = np.ones(len(hits.scores), bool)
    kept[hits.offsets[:-1]] = False
    offsets = hits.offsets - np.arange(len(hits.offsets))
    return Hits(offsets, hits.label_rows[kept], hits.scores[kept])


def exactness(context, index_class):
    retriever = context.retriever
    other = type(retriever)(retriever.labels)
    other.__dict__["index"] = index_class(retriever.index.labels_LD)
    result = Exactness(ks=(5,)).run(replace(context, retriever=other))
    return {name: figure.value for name, figure in result.figures.items()}, result.notes


def test_an_exact_index_is_proven_and_found_exact(context):
    figures, notes = exactness(context, ExampleIndex)
    assert figures == {"proven_at_5": 1, "exact_at_5": 1, "recall_against_exact_at_5": 1, "wrong_proofs": 0}
    assert "exact by construction" in notes[0]


def test_an_index_without_certificates_proves_nothing(context):
    figures, notes = exactness(context, Careless)
    assert figures["proven_at_5"] == 0 == figures["exact_at_5"] and figures["wrong_proofs"] == 0
    assert figures["recall_against_exact_at_5"] == pytest.approx(0.8) and "without certificates" in notes[0]


def test_certificates_are_counted(context):
    figures, notes = exactness(context, Certifying)
    assert figures["proven_at_5"] == pytest.approx(np.mean(np.arange(150) % 4 == 0)) and figures["exact_at_5"] == 1
    assert "certified answer by answer" in notes[0]


def test_a_wrong_promise_is_found_out(context):
    figures, notes = exactness(context, Lying)
    assert figures["wrong_proofs"] == 150 and "does not keep its promise" in notes[1]


def test_certificates_of_another_shape_are_refused(context):
    class Odd(Careless):
        def search_certified(self, queries_QD, k):
            return self.search(queries_QD, k), np.ones((2, 2))

    with pytest.raises(DataError, match=r"gave certificates of shape \(2, 2\) for 150 queries"):
        exactness(context, Odd)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Calibrate(propensity_a=-1.0), "check.calibrate.propensity_a must be 0 or more, got -1.0"),
        (lambda: Calibrate(propensity_b=0.0), "check.calibrate.propensity_b must be above 0, got 0.0"),
        (lambda: Calibrate(top=0), "check.calibrate.top must be 1 to 10,000, got 0"),
        (lambda: Calibrate(ks=(20,)), r"check.calibrate.ks must be at most check.calibrate.top \(10\)"),
        (lambda: Calibrate(ks=()), "check.calibrate.ks must be one or more ranks"),
        (lambda: Calibrate(first_ranks=(0,)), "check.calibrate.first_ranks must be from 1 up"),
        (lambda: Calibrate(unanswerable=1.0), "check.calibrate.unanswerable must be 0 to below 1"),
        (lambda: Calibrate(bins=1), "check.calibrate.bins must be 2 to 1,000"),
        (lambda: Calibrate(bootstrap_samples=-1), "bootstrap_samples must be 0"),
        (lambda: Conformal(alpha=1.0), "check.conformal.alpha must lie between 0 and 1"),
        (lambda: Conformal(also=(0.0,)), "check.conformal.alpha must lie between 0 and 1"),
        (lambda: Conformal(most_labels=0), "check.conformal.most_labels must lie in 1..10,000"),
        (lambda: Exactness(ks=(0,)), "check.exactness.ks must be ranks in 1..10,000"),
        (lambda: Exactness(sample=0), "check.exactness.sample must be at least 1"),
    ],
)
def test_options_that_are_not_allowed(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
