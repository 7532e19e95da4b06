"""The report: figures equal trec_eval's, order of queries is nothing, every query is counted, nothing is ever NaN."""

import json
import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import LABELS, as_hits, as_positives, rankings, untimed

from xmc.errors import DataError, PluginError
from xmc.evaluate.report import EvaluateOptions, evaluate_hits

TRAIN_COUNTS = np.array([0, 0, 1, 5, 9, 10, 11, 49, 50, 51, 300, 2])
QUICK = EvaluateOptions(ks=(1, 3, 10), bootstrap_samples=0, graded_ndcg=True)
CASE = ([[8, 0, 3], [1, 2], [], [4]], [{0: 1.0, 3: 1.0}, {1: 2.0}, {5: 1.0}, {}])


def evaluate(ranked, truth, options=QUICK, train_queries=1000, **more):
    return evaluate_hits(
        as_hits(ranked),
        as_positives(truth),
        train_counts_L=TRAIN_COUNTS,
        train_queries=train_queries,
        options=options,
        **more,
    )


@untimed
@given(rankings())
def test_figures_equal_trec_eval(case):
    ranked, truth = case
    asked = [query for query, of_query in enumerate(truth) if of_query]
    qrels = {f"q{query}": {f"l{row}": 1 for row in truth[query]} for query in asked}
    # Scores fall from -1, since trec_eval sorts by score itself and breaks ties by another rule.
    run = {f"q{query}": {f"l{row}": -1.0 - rank for rank, row in enumerate(ranked[query])} for query in asked}
    measures = {"P.1,3,10", "recall.1,3,10", "ndcg_cut.1,3,10", "recip_rank"}
    judged = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    figures = evaluate(ranked, truth, EvaluateOptions(ks=(1, 3, 10, LABELS), bootstrap_samples=0)).overall.figures
    if not asked:
        assert figures == {}
        return
    for ours, theirs in (("P", "P"), ("R", "recall"), ("nDCG", "ndcg_cut")):
        for k in (1, 3, 10):
            expected = sum(judged.get(query, {}).get(f"{theirs}_{k}", 0.0) for query in qrels) / len(asked)
            assert figures[f"{ours}@{k}"].value == pytest.approx(expected, abs=1e-9)
    expected = sum(judged.get(query, {}).get("recip_rank", 0.0) for query in qrels) / len(asked)
    assert figures[f"MRR@{LABELS}"].value == pytest.approx(expected, abs=1e-9)


def test_all_figures_look_as_far_as_their_k():
    figures = evaluate([[9, 8, 7, 6, 0]], [{0: 2.0}]).overall.figures
    for name in ("R", "nDCG", "graded-nDCG", "PSP", "PSnDCG"):
        expected = 1.0 if name in ("R", "PSP") else 1 / math.log2(6)
        assert [figures[f"{name}@{k}"].value for k in (1, 3, 10)] == [0, 0, pytest.approx(expected)]


@untimed
@given(rankings(), st.randoms(use_true_random=False))
def test_the_order_of_the_queries_is_nothing(case, random):
    ranked, truth = case
    order = list(range(len(ranked)))
    random.shuffle(order)
    first, second = evaluate(ranked, truth), evaluate([ranked[q] for q in order], [truth[q] for q in order])
    for one, other in zip((first.overall, *first.bands), (second.overall, *second.bands), strict=True):
        assert (one.queries, one.labels, one.pairs) == (other.queries, other.labels, other.pairs)
        values = {name: figure.value for name, figure in other.figures.items()}
        assert {name: figure.value for name, figure in one.figures.items()} == pytest.approx(values)


@untimed
@given(rankings(), st.integers(0, 5))
def test_every_figure_is_finite_and_json_can_hold_the_report(case, train_queries):
    report = evaluate(*case, EvaluateOptions(ks=(1, 50), bootstrap_samples=3), train_queries=train_queries)
    text = json.dumps(report.to_dict(), allow_nan=False)
    for group in (report.overall, *report.bands):
        assert bool(group.figures) == (group.queries > 0)
        for figure in group.figures.values():
            assert 0 <= figure.low <= figure.high <= 1 + 1e-9
            assert math.isfinite(figure.value)
    assert json.loads(text)["overall"]["queries"] == report.overall.queries


@untimed
@given(rankings())
def test_scores_are_not_read(case):
    ranked, truth = case
    hits = sum(len(of_query) for of_query in ranked)
    lists = as_hits(ranked), as_hits(ranked, scores=[float("nan")] * hits)
    reports = [
        evaluate_hits(each, as_positives(truth), train_counts_L=TRAIN_COUNTS, train_queries=9, options=QUICK)
        for each in lists
    ]
    assert reports[0] == reports[1]


def test_an_interval_without_width_is_explained():
    options = EvaluateOptions(ks=(1, 3), bootstrap_samples=20)
    ranked, truth = [[row, 11] for row in range(10)], [{row: 1.0} for row in range(10)]
    (note,) = evaluate(ranked, truth, options).notes
    assert "such as that of P@1, say that all 10 queries agree" in note
    assert note.endswith("of other queries 30.8% may differ.")  # 1 - 0.025 ** (1 / 10)
    assert not evaluate(*CASE, options).notes and not evaluate(ranked, truth).notes
    assert not evaluate([[2, 0]], [{0: 1.0}], EvaluateOptions(ks=(LABELS,), bootstrap_samples=9)).notes
    assert not evaluate([*ranked, [0]], [*truth, {1: 1.0}], EvaluateOptions(ks=(1,), bootstrap_samples=1)).notes


def test_queries_are_counted():
    report = evaluate(*CASE)
    assert (report.queries, report.queries_without_positives, report.queries_without_hits) == (4, 1, 1)
    assert report.queries_with_short_hits == 3
    assert (report.overall.queries, report.overall.labels, report.overall.pairs) == (3, LABELS, 4)
    assert report.overall.figures["P@1"].value == pytest.approx(1 / 3)
    assert report.overall.figures["R@3"].value == pytest.approx(2 / 3)


def test_bands_are_reported_from_head_to_zero_shot_and_add_up():
    report = evaluate(*CASE)
    assert [(band.name, band.labels, band.queries, band.pairs) for band in report.bands] == [
        ("head", 3, 0, 0),
        ("torso", 3, 1, 1),
        ("tail", 4, 1, 1),
        ("zero-shot", 2, 2, 2),
    ]
    zero_shot = report.bands[-1].figures
    assert zero_shot["P@1"].value == 0.5  # row 8 is wrong and stands before row 0; row 1 is found first
    assert zero_shot["MRR@3"].value == 0.75
    assert report.bands[2].figures["MRR@3"].value == 0.5  # row 0, right but of another band, is taken out before row 3


def test_all_constants_are_in_the_report():
    report = evaluate(*CASE).to_dict()
    assert report["propensity_c"] == pytest.approx((math.log(1000) - 1) * 2.5**0.55)
    assert report["train_queries"] == 1000
    assert report["options"] == {
        "ks": [1, 3, 10],
        "propensity_a": 0.55,
        "propensity_b": 1.5,
        "head_min": 50,
        "torso_min": 10,
        "bootstrap_samples": 0,
        "bootstrap_seed": 0,
        "graded_ndcg": True,
        "auc_negatives": 0,
    }
    assert report["interval"] == {"level": 0.95, "method": "percentile bootstrap over queries"}


def test_the_table_has_a_row_per_count_and_figure_with_the_same_columns():
    report = evaluate(*CASE, EvaluateOptions(ks=(1, 3), bootstrap_samples=20))
    rows = report.table()
    names = ["figure", "all", "low", "high", "head", "torso", "tail", "zero-shot"]
    assert all(list(row) == names for row in rows)
    kinds = ("P", "R", "nDCG", "MRR", "PSP", "PSnDCG")
    assert [row["figure"] for row in rows] == [
        "queries",
        "labels",
        "pairs",
        *(f"{n}@{k}" for n in kinds for k in (1, 3)),
    ]
    precision = next(row for row in rows if row["figure"] == "P@1")
    assert precision["head"] is None
    assert precision["zero-shot"] == 0.5
    assert precision["low"] <= precision["all"] <= precision["high"]


def test_without_training_psp_is_left_out_and_noted():
    report = evaluate(*CASE, train_queries=0)
    assert not any(name.startswith("PS") for name in report.overall.figures)
    assert report.propensity_c is None
    assert "PSP and PSnDCG are left out" in report.notes[0]
    assert "more training queries (300) than there are (0)" in report.notes[1]
    assert evaluate(*CASE).notes == ()


def test_no_query_and_no_label_make_an_empty_report():
    nothing = evaluate_hits(as_hits([]), as_positives([]), train_counts_L=np.array([], dtype=int), train_queries=0)
    assert nothing.overall.figures == {}
    assert nothing.queries == 0


@pytest.mark.parametrize("counts", [np.array([0.5] * LABELS), np.array([-1] * LABELS), np.ones((LABELS, 1), dtype=int)])
def test_training_counts_that_are_none_are_refused(counts):
    with pytest.raises(DataError, match="train_counts_L must be one whole number"):
        evaluate_hits(as_hits([[1]]), as_positives([{1: 1.0}]), train_counts_L=counts, train_queries=5)


def test_fewer_training_counts_than_labels_are_refused():
    with pytest.raises(DataError, match="label row 4; allowed are 0 to 2"):
        evaluate_hits(as_hits([[4]]), as_positives([{1: 1.0}]), train_counts_L=np.array([1, 1, 1]), train_queries=5)


def test_an_extra_metric_is_shown_beside_the_built_in_ones():
    def success(relevant_QK, positive_counts_Q, k):
        return relevant_QK[:, :k].any(axis=1)

    report = evaluate(*CASE, extra_metrics={"mine.success": success})
    assert report.overall.figures["mine.success@3"].value == pytest.approx(2 / 3)
    assert report.bands[-1].figures["mine.success@1"].value == 0.5
    assert any(row["figure"] == "mine.success@10" for row in report.table())


def broken(relevant_QK, positive_counts_Q, k):
    raise KeyError("inside")


def overwriting(relevant_QK, positive_counts_Q, k):
    relevant_QK[:] = True
    return relevant_QK[:, 0]


@pytest.mark.parametrize(
    ("name", "metric", "message"),
    [
        ("mine", lambda relevant_QK, counts_Q, k: 0.5, r"'mine' answered shape \(\); one value per query is \(3,\)"),
        ("mine", lambda relevant_QK, counts_Q, k: counts_Q * np.nan, "'mine' answered a NaN"),
        ("mine", lambda relevant_QK, counts_Q, k: ["x"], "'mine' failed at k = 1: ValueError"),
        ("mine", broken, "'mine' failed at k = 1: KeyError: 'inside'"),
        ("mine", overwriting, "'mine' failed at k = 1: ValueError: assignment destination is read-only"),
        ("PSP", broken, "metric name 'PSP' is taken"),
        ("P", broken, "metric name 'P' is taken"),
    ],
)
def test_an_extra_metric_that_misbehaves_is_named(name, metric, message):
    with pytest.raises(PluginError, match=message):
        evaluate(*CASE, extra_metrics={name: metric})


def test_importing_the_package_needs_numpy_alone():
    import subprocess
    import sys

    code = (
        "import sys, xmc.evaluate.report\n"
        "heavy = {'torch', 'faiss', 'pyarrow', 'sklearn', 'scipy', 'sentence_transformers'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
