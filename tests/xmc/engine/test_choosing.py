"""Invariants, on a real run and a log it made on the shipped data: estimates hold the true value, the better run is
found, a run lacking a label or overlap is refused, and the order of runs does not matter."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import xmc
from xmc.choose.judge import ChooseOptions
from xmc.choose.log import log_of, log_table
from xmc.choose.policy import Policy
from xmc.choose.simulate import Clicks, simulate_log, true_value
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable
from xmc.engine.choosing import choose, score
from xmc.errors import ConfigError, DataError
from xmc.retrieve.flat_scan import FlatScan
from xmc.retrieve.retriever import Retriever

TEMPERATURE = 0.2
CLICKS = Clicks(relevant=0.6, irrelevant=0.05, decay=0.5, cascade=True)


@pytest.fixture(scope="module")
def good(tiny_run):
    return Retriever.load(tiny_run)


@pytest.fixture(scope="module")
def poor(tmp_path_factory):
    """A run that has learned less."""
    run = tmp_path_factory.mktemp("choosing") / "poor"
    xmc.train_run("tiny", run, settings=("encoder.dimension=32", "train.epochs=1", "train.learning_rate=0.02"))
    return Retriever.load(run)


@pytest.fixture(scope="module")
def simulated(poor):
    """What the poor run showed, for queries of the test split."""
    queries = load_dataset("tiny").test
    return simulate_log(
        poor, queries, rows=2500, shown=2, candidates=30, temperature=TEMPERATURE, clicks=CLICKS, seed=3
    )


@pytest.fixture(scope="module")
def log(simulated):
    return log_of(simulated.table)


def drawn(samples):
    return ChooseOptions(temperature=TEMPERATURE, samples=samples)


def truth_of(log, retriever, simulated, temperature=TEMPERATURE):
    policy = Policy(score(log, "", retriever).scores_QM, temperature)
    return true_value(policy, simulated.relevant_QM, shown=2, clicks=CLICKS, draws=100)


@pytest.fixture(scope="module")
def report(log, good, simulated):
    truths = {"good": truth_of(log, good, simulated)}
    return choose(log, {"good": good}, drawn(300), truths=truths)


def test_the_log_is_what_the_run_showed(simulated, log):
    assert len(log) == 2500 and log.ranks == 2 and log.is_shown_QK.all()
    value = true_value(simulated.policy, simulated.relevant_QM, shown=2, clicks=CLICKS, draws=100)
    clicks_Q = log.rewards_QK.sum(axis=1)
    assert abs(clicks_Q.mean() - value) < 4 * clicks_Q.std() / np.sqrt(len(log))
    assert clicks_Q.max() == 1  # users stop at their first click


def test_estimates_hold_the_true_value_of_another_run(report):
    truth, candidate = report.truths["good"], report.candidates[0]
    assert set(candidate.estimates) >= {"ips", "snips", "iips", "rips", "dr", "switch-dr", "cascade-dr"}
    for name in ("ips", "snips", "rips", "dr", "cascade-dr"):
        figure = candidate.estimates[name]
        slack = 0.5 * (figure.high - figure.low)  # 95 % is not all
        assert figure.low - slack <= truth <= figure.high + slack, name
    width = {name: figure.high - figure.low for name, figure in candidate.estimates.items()}
    assert width["cascade-dr"] < width["rips"] and width["dr"] < width["ips"]


def test_the_better_run_is_chosen(report):
    candidate = report.candidates[0]
    assert report.truths["good"] > report.behaviour.value + 0.02
    assert candidate.verdict == "better" and report.choice == "good" == report.worth_a_test[0]
    assert candidate.chance_worse < 0.01 and candidate.gain.low > 0
    assert [found.k for found in report.portfolios["dr"]] == [1]


def test_the_run_that_made_the_log_has_gained_nothing(log, poor):
    candidate = choose(log, {"poor": poor}, drawn(100)).candidates[0]
    assert candidate.verdict == "unclear"
    assert candidate.overlap.effective_rows == pytest.approx(len(log), rel=1e-4)
    for name in ("ips", "snips", "rips"):
        assert candidate.estimates[name].value == pytest.approx(log.rewards_QK.sum(axis=1).mean(), rel=1e-4)


def test_permuted_runs_give_permuted_reports(log, good, poor):
    one, other = (choose(log, runs, drawn(50)) for runs in ({"good": good, "poor": poor}, {"poor": poor, "good": good}))
    assert one.choice == other.choice == "good"
    for mine, theirs in zip(one.candidates, reversed(other.candidates), strict=True):
        assert mine.name == theirs.name
        for name, figure in mine.estimates.items():
            assert figure.value == pytest.approx(theirs.estimates[name].value, abs=1e-6), name


def test_a_candidate_that_shows_its_best_labels_only(log, good, simulated):
    candidate = choose(log, {"good": good}, ChooseOptions(samples=100)).candidates[0]
    assert candidate.overlap.matched < 0.8 and candidate.overlap.effective_rows < len(log)
    truth, figure = truth_of(log, good, simulated, 0.0), candidate.estimates["cascade-dr"]
    assert abs(figure.value - truth) < 2 * (figure.high - figure.low)


def test_an_index_that_compresses_is_judged_by_what_it_shows(good):
    """Half of its best 40 are candidates: those beyond its first 20 hits have scores of the embeddings."""
    labels_LD = torch.cat(list(good.model.label_vectors(good.labels)[0]))
    coarse = replace(good, index=FlatScan.of(labels_LD.sign(), similarity="cosine"))
    queries = load_dataset("tiny").test
    best = [label_rows[:40:2] for label_rows, _ in coarse.hits(queries.texts, k=40)]
    ids = [[good.labels.ids[row] for row in label_rows] for label_rows in best]
    lists = {"propensities": [[0.5] * 3] * len(ids), "rewards": [[0.0] * 3] * len(ids)}
    shown = {"candidates": ids, "label_ids": [each[:3] for each in ids]}
    log = log_of(log_table({"query_id": queries.ids, "text": queries.texts, **shown, **lists}))
    scores_QM = score(log, "", coarse).scores_QM
    ranked = [[sorted(each)[column] for column in np.argsort(-row)] for each, row in zip(ids, scores_QM, strict=True)]
    assert [each[:10] for each in ranked] == [each[:10] for each in ids]


def never_shown(log, retriever):
    """The log, with the labels swapped that the run would put first for others, so that it matches no list."""
    best_Q = score(log, "", retriever).scores_QM.argmax(axis=1)
    shown_QK = log.shown_QK.copy()
    clash = shown_QK[:, 0] == best_Q
    second_Q = (best_Q + 1) % log.is_candidate_QM.sum(axis=1)
    third_Q = (best_Q + 2) % log.is_candidate_QM.sum(axis=1)
    shown_QK[clash] = np.stack([second_Q, third_Q], axis=1)[clash]
    return replace(log, shown_QK=shown_QK)


def test_a_candidate_without_overlap_is_refused_alone_and_reported_among_others(log, good, poor):
    disjoint = never_shown(log, good)
    with pytest.raises(DataError, match="'good' would have shown none of the 2,500 lists"):
        choose(disjoint, {"good": good}, ChooseOptions(samples=50))
    report = choose(disjoint, {"good": good, "poor": poor}, ChooseOptions(samples=50))
    refused, judged = report.candidates
    assert refused.verdict == "refused" and "none of the 2,500 lists" in refused.refusal and not refused.estimates
    assert judged.estimates and report.choice != "good"
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_run_that_lacks_a_candidate_is_refused_with_the_row(log, good):
    code = int(log.codes_N[0])
    ids = [label_id + "x" * (label_id == log.label_ids[code]) for label_id in good.labels.ids]
    labels = LabelTable(ids, good.labels.texts)
    message = rf"run 'a' has no label '{log.label_ids[code]}', a candidate of row 0 \('{log.query_ids[0]}'\)"
    with pytest.raises(DataError, match=message):
        choose(log, {"a": replace(good, labels=labels)})


def test_what_a_run_would_show_outside_the_candidates_is_said(good):
    """The candidates are its own best 12; with the two that it would show taken away, all it shows is outside."""
    queries = load_dataset("tiny").test
    table = simulate_log(good, queries, rows=300, shown=2, candidates=12, temperature=TEMPERATURE, seed=5).table
    assert score(log_of(table), "", good).outside == 0
    columns = table.to_pydict()
    best = [{hit.label_id for hit in hits} for hits in good.search(columns["text"], k=2)]
    kept = [[each for each in ids if each not in own] for ids, own in zip(columns["candidates"], best, strict=True)]
    columns |= {"candidates": kept, "label_ids": [ids[:2] for ids in kept]}
    candidate = choose(log_of(log_table(columns)), {"good": good}, drawn(10)).candidates[0]
    assert candidate.overlap.outside == 1 and candidate.verdict == "unreliable"
    assert "100 % of what the run would show were no candidates" in " ".join(candidate.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "cascade_dr"}, "no estimator 'cascade_dr'. Did you mean 'cascade-dr'"),
        ({"temperature": -1.0}, "temperature must be 0 or a finite number above, got -1"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"most_weight": 0.0}, "most_weight must be above 0, got 0"),
        ({"samples": 0}, "samples must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_wrong_options(log, good, options, message):
    with pytest.raises(ConfigError, match=message):
        choose(log, {"good": good}, ChooseOptions(**options))


@pytest.mark.parametrize(
    ("truths", "message"),
    [
        ({"good": float("inf")}, "true value of 'good' must be a finite number"),
        ({"goood": 0.3}, "'goood', which is no run here. Did you mean 'good'"),
        ({"good": 0.3}, "none of 'other'"),
    ],
)
def test_wrong_true_values(log, good, truths, message):
    with pytest.raises(ConfigError, match=message):
        choose(log, {"good": good, "other": good}, truths=truths)


def test_iips_needs_its_column(log, good):
    with pytest.raises(DataError, match="rank_propensities"):
        choose(replace(log, rank_propensities_QK=None), {"good": good}, ChooseOptions(estimator="iips"))


def test_from_python_with_files(simulated, tiny_run, tmp_path):
    write_table(tmp_path / "clicks.parquet", simulated.table.slice(0, 400))
    report = xmc.choose_run(
        tmp_path / "clicks.parquet", {"a": tiny_run}, out=tmp_path / "choice", temperature=TEMPERATURE
    )
    assert json.loads((tmp_path / "choice" / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert (tmp_path / "choice" / "return-risk.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "choice" / "return-risk.svg").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "above 0, got 0"),
        ({"shown": 13, "candidates": 12}, "got 13 and 12"),
        ({"shown": 0}, "got 0"),
    ],
)
def test_a_log_that_cannot_be_simulated(good, options, message):
    with pytest.raises(ConfigError, match=message):
        simulate_log(good, load_dataset("tiny").test, rows=3, **options)
