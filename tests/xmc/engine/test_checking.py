"""Invariants: what is fitted is judged on other queries; every limit has a verdict; a run keeps what its checks fitted
only for the encoder and index they were fitted to; a third party's check is short and runs like the built-in ones."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

import xmc
from xmc.api import CheckFigure, CheckResult
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import label_table_to_arrow, query_table_to_arrow
from xmc.engine.check_report import checked_result
from xmc.engine.checking import choose_checks, run_checks
from xmc.engine.held_out import held_out
from xmc.engine.run_config import read_run_config
from xmc.errors import ArtifactError, ConfigError, DataError, PluginError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever

LIMITS = ["check.limits.calibrate.ece_at_5=0.9", "check.limits.conformal.coverage=0.1"]
APPROXIMATE = ["index.name=faiss.ivf", "index.nlist=4"]
QUICK = ["check.calibrate.bootstrap_samples=50", "check.exactness.sample=30"]


@pytest.fixture(scope="module")
def checked_run(tiny_run, tmp_path_factory):
    """A run on which every check was run, and the report."""
    run = tmp_path_factory.mktemp("checked") / "run"
    shutil.copytree(tiny_run, run)
    names = ["calibrate", "conformal", "exactness"]
    return run, xmc.check_run(run, names, settings=[*QUICK, *LIMITS])


def test_every_check_writes_its_report_tables_and_pictures(checked_run):
    run, report = checked_run
    for outcome in report.outcomes:
        folder = run / "checks" / outcome.name
        written = json.loads((folder / "report.json").read_text())
        assert written["check"] == outcome.name and written["figures"].keys() == outcome.figures.keys()
        for file in written["tables"] + written["pictures"]:
            assert (run / "checks" / file).stat().st_size > 100
    table = pyarrow.parquet.read_table(run / "checks" / "calibrate" / "reliability.parquet").to_pydict()
    assert set(table["stage"]) == {"before", "after"}


def test_the_report_of_all_is_one_page_with_its_pictures_inside(checked_run):
    run, report = checked_run
    page = (run / "checks" / "report.html").read_text()
    assert json.loads((run / "checks" / "report.json").read_text()) == report.to_dict()
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(pictures) == 2 and all(b"<svg" in base64.b64decode(picture) for picture in pictures)
    assert not re.search(r'(src|href)="(?!data:)', page) and "All 2 limits are kept." in page


def test_each_limit_has_a_verdict(tiny_run_copy):
    settings = [*QUICK, "check.limits.calibrate.ece_at_5=0.000001", "check.limits.exactness.proven_at_1=1"]
    report = xmc.check_run(tiny_run_copy, ["calibrate", "exactness"], settings=settings)
    assert not report.passed
    assert [(verdict.limit.name, verdict.passed) for verdict in report.verdicts] == [
        ("calibrate.ece_at_5", False),
        ("exactness.proven_at_1", True),
    ]
    assert "1 of 2 limits missed." in (tiny_run_copy / "checks" / "report.html").read_text()


def test_a_check_alone_is_judged_by_its_own_limits_and_writes_no_common_report(tiny_run_copy):
    report = xmc.check_run(tiny_run_copy, "exactness", settings=[*QUICK, "check.limits.calibrate.ece_at_5=0.000001"])
    assert report.passed and not report.verdicts
    assert not (tiny_run_copy / "checks" / "report.html").exists()


def test_a_name_is_not_a_list_of_letters(tiny_run):
    with pytest.raises(PluginError, match="unknown check 'small'"):
        xmc.check_run(tiny_run, "small")


def test_a_refusal_misses_the_limits_among_others_and_is_raised_alone(tiny_run_copy):
    settings = [*QUICK, "check.conformal.alpha=0.001", "check.limits.conformal.coverage=0.1"]
    unlimited = xmc.check_run(tiny_run_copy, ["exactness", "conformal"], settings=settings[:-1])
    assert (unlimited.refused, unlimited.passed, unlimited.verdicts) == (["conformal"], False, [])
    report = xmc.check_run(tiny_run_copy, ["exactness", "conformal"], settings=settings)
    refused = report.outcomes[1]
    assert not report.passed and refused.verdicts[0].value is None
    assert "needs at least 999 calibration queries, got 100." in refused.refusal
    assert "Not run: alpha = 0.001 needs" in (tiny_run_copy / "checks" / "report.html").read_text()
    with pytest.raises(DataError, match="needs at least 999 calibration queries"):
        xmc.check_run(tiny_run_copy, ["conformal"], settings=settings)


def test_hits_have_probabilities_and_abstain(checked_run, tiny_run):
    run, _ = checked_run
    plain, calibrated = Retriever.load(tiny_run), Retriever.load(run)
    texts = load_dataset("tiny").test.texts[:20]
    assert all(hit.probability is None for hits in plain.search(texts) for hit in hits)
    found = calibrated.search(texts, k=10)
    assert [[hit[:4] for hit in hits] for hits in found] == [[hit[:4] for hit in hits] for hits in plain.search(texts)]
    assert all(0 < hit.probability < 1 for hits in found for hit in hits)
    kept = calibrated.search(texts, k=10, min_probability=0.5)
    assert [[hit.label_id for hit in hits] for hits in kept] == [
        [hit.label_id for hit in hits if hit.probability >= 0.5] for hits in found
    ]
    assert calibrated.search(texts, min_probability=1.0) == [[]] * 20


def test_a_threshold_reaches_what_was_asked_for(checked_run):
    retriever = Retriever.load(checked_run[0])
    test = load_dataset("tiny").test
    threshold = retriever.threshold(precision=0.9)
    found = retriever.search(test.texts, k=10, min_probability=threshold)
    ids = load_dataset("tiny").labels.ids
    right = wrong = 0
    for query, hits in enumerate(found):
        positives = {ids[row] for row in test.positives.take(np.array([query])).label_rows}
        right += sum(hit.label_id in positives for hit in hits)
        wrong += sum(hit.label_id not in positives for hit in hits)
    assert right / (right + wrong) >= 0.9
    assert 0 < retriever.threshold(recall=0.5) <= 1 and 0 < retriever.threshold(false_positive_rate=0.1) < 1


def test_label_sets_miss_about_what_was_allowed(checked_run):
    retriever = Retriever.load(checked_run[0])
    texts = load_dataset("tiny").test.texts
    wide, narrow = (retriever.search_sets(texts, alpha=alpha) for alpha in (0.1, 0.4))
    sizes = [np.mean([len(hits) for hits in sets]) for sets in (wide, narrow)]
    assert sizes[0] > sizes[1] >= 1 and wide[0][0].probability is not None
    assert len(retriever.search_sets(texts[:1], alpha=0.3, risk="coverage")[0]) >= 1
    with pytest.raises(DataError, match=r"alpha = 0\.001 needs at least 999"):
        retriever.search_sets(texts, alpha=0.001)


def test_what_is_not_there_is_said_with_the_command_that_makes_it(tiny_run):
    retriever = Retriever.load(tiny_run)
    with pytest.raises(ArtifactError, match=r"has no calibration\. Make it with: xmc check calibrate --run"):
        retriever.search(["tender tram"], min_probability=0.5)
    with pytest.raises(ArtifactError, match="xmc check calibrate"):
        retriever.threshold(precision=0.5)
    with pytest.raises(ArtifactError, match=r"has no label sets\. Make it with: xmc check conformal --run"):
        retriever.search_sets(["tender tram"])
    with pytest.raises(ConfigError, match=r"min_probability must lie in 0\.\.1, got 2"):
        retriever.search(["tender tram"], min_probability=2)
    assert retriever.fitted.stale() == []


def test_what_was_fitted_to_another_index_is_not_used(checked_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(checked_run[0], run)
    for opening in (lambda: xmc.index_run(run, settings=APPROXIMATE), lambda: Retriever.load(run)):
        with (
            pytest.warns(XmcWarning, match="calibration of .* was fitted for an earlier index"),
            pytest.warns(XmcWarning, match="label sets of .* were fitted for an earlier index"),
        ):
            retriever = opening()
    assert retriever.search(["tender tram"])[0][0].probability is None
    assert len(retriever.fitted.stale()) == 2
    with pytest.raises(ArtifactError, match=r"was fitted for an earlier index\. Make it again: xmc check calibrate"):
        retriever.search(["tender tram"], min_probability=0.5)
    with pytest.raises(ArtifactError, match="Make it again: xmc check conformal"):
        retriever.search_sets(["tender tram"])


@pytest.mark.parametrize("part", ["calibrate/calibration/v000001/calibration.json", "conformal/label-sets/CURRENT"])
def test_damage_is_found_before_anything_is_read(checked_run, tmp_path, part):
    run = tmp_path / "run"
    shutil.copytree(checked_run[0], run)
    path = run / "checks" / part
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(ArtifactError, match="is damaged"):
        Retriever.load(run)


@pytest.fixture(scope="module")
def opened(tiny_run):
    return load_dataset("tiny"), Retriever.load(tiny_run)


def test_dev_is_fitted_and_test_is_judged(opened):
    data, retriever = opened
    found = held_out(data, retriever, split="test")
    assert found.queries.ids == data.test.ids and found.fit_queries.ids == data.dev.ids
    assert found.source == "judged on 100 test queries, fitted on 100 dev queries"
    for query in (0, 57, 99):
        rows = found.queries.positives.take(np.array([query])).label_rows
        there = {data.labels.ids[row] for row in data.test.positives.take(np.array([query])).label_rows}
        assert {retriever.labels.ids[row] for row in rows} == there and sorted(rows) == list(rows)


def test_one_split_is_halved_whatever_the_order(opened):
    data, retriever = opened
    found = held_out(data, retriever, split="test", fit_split="test")
    assert set(found.queries.ids) | set(found.fit_queries.ids) == set(data.test.ids)
    assert not set(found.queries.ids) & set(found.fit_queries.ids) and 30 < len(found.queries) < 70
    turned = data.test.take(np.arange(100)[::-1])
    again = held_out(xmc_replace(data, turned), retriever, split="test", fit_split="test")
    assert set(again.queries.ids) == set(found.queries.ids)
    assert held_out(data, retriever, split="dev").source.endswith("of the dev queries")


def xmc_replace(data, test):
    return replace(data, splits={**data.splits, "test": test})


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"split": "train"}, "was trained on the split 'train'"),
        ({"split": "test", "fit_split": "train"}, "was trained on the split 'train'"),
        ({"split": "exam"}, r"has no split 'exam' \(it has: train, dev, test\)\. Use: --split dev"),
    ],
)
def test_queries_that_are_not_held_out_are_refused(opened, splits, message):
    with pytest.raises(DataError, match=message):
        held_out(*opened, **splits)


@pytest.mark.parametrize(("split", "message"), [("test", r"\(it has: train\)"), ("train", "split 'train'")])
def test_without_held_out_queries_the_hint_says_what_to_add(opened, split, message):
    data, retriever = opened
    with pytest.raises(DataError, match=rf"{message}.*Add a dev or test table"):
        held_out(replace(data, splits={"train": data.train}), retriever, split=split)


def test_other_data_than_in_training_is_said_in_the_report(tiny_run_copy, tmp_path):
    data = load_dataset("tiny")
    tables = {"labels": label_table_to_arrow(data.labels), "train": query_table_to_arrow(data.train)}
    tables |= {name: query_table_to_arrow(data.train.take(np.arange(100))) for name in ("dev", "test")}
    for name, table in tables.items():
        write_table(tmp_path / f"{name}.parquet", table)
    settings = [*QUICK, "check.exactness.ks=[1]", "evaluate.bootstrap_seed=3"]
    same = xmc.check_run(tiny_run_copy, ["exactness"], settings=settings)
    assert same.source == "judged on 100 test queries, fitted on 100 dev queries"
    other = xmc.check_run(tiny_run_copy, ["exactness"], settings=[*settings, f"data.name={tmp_path}"])
    assert other.source.startswith(f"{same.source}; data set '{tmp_path.name}' is not in the state that")
    report = json.loads((tiny_run_copy / "checks" / "exactness" / "report.json").read_text())
    assert report["queries"] == other.source


THIRD_PARTY = '''\
"""A check plugin: how many queries get no hit of at least some score."""

from dataclasses import dataclass

from xmc.api import CheckFigure, CheckResult, CheckSpec, hookimpl


@dataclass(frozen=True)
class Silence:
    """The share of queries whose best hit scores below `score`."""

    score: float = 0.2

    def figures(self):
        return {"silent": "lower"}

    def run(self, context):
        hits = context.search(context.queries, k=1)
        return CheckResult({"silent": CheckFigure(float((hits.scores < self.score).mean()))})


@hookimpl
def xmc_checks():
    return [CheckSpec("silence", "third_party_silence:Silence", summary="queries without a good hit")]
'''


def test_a_third_partys_check_runs_like_the_others(tiny_run_copy, tmp_path, monkeypatch):
    path = tmp_path / "third_party_silence.py"
    path.write_text(THIRD_PARTY)
    monkeypatch.syspath_prepend(tmp_path)
    assert len(THIRD_PARTY.splitlines()) < 40
    plugins = load_plugins(plugin_file=path)
    name = "third_party_silence.silence"
    settings = ["check.silence.score=9.0", f"check.limits.{name}.silent=0.5"]
    config = read_run_config(plugins, tiny_run_copy, settings=settings)
    report = run_checks(config, tiny_run_copy, ["silence"], plugins=plugins)
    assert report.outcomes[0].figures["silent"].value == 1.0 and not report.passed
    assert (tiny_run_copy / "checks" / name / "report.json").is_file()
    assert [offer.full_name for offer in choose_checks(plugins, ["all"])].count(name) == 1


def test_names_are_those_of_checks():
    plugins = load_plugins()
    assert [offer.full_name for offer in choose_checks(plugins, ["exactness", "calibrate", "exactness"])] == [
        "exactness",
        "calibrate",
    ]
    with pytest.raises(PluginError, match=r"unknown check 'calibration'\. Did you mean 'calibrate'"):
        choose_checks(plugins, ["calibration"])
    with pytest.raises(ConfigError, match=r"which check\? Give one or more of: .*calibrate.*, all"):
        choose_checks(plugins, [])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"a": 1}, "answered dict, not a CheckResult"),
        (CheckResult({"b": CheckFigure(1.0)}), r"reports 'b', which its figures\(\) does not announce"),
        (CheckResult({"a": CheckFigure(float("nan"))}), "figure 'a' is not finite"),
        (CheckResult({"a": CheckFigure(0.1, 0.0, float("inf"))}), "figure 'a' is not finite"),
    ],
)
def test_a_result_that_breaks_the_contract_names_the_check(result, message):
    with pytest.raises(PluginError, match=rf"check 'x'.*{message}"):
        checked_result("x", {"a": "lower"}, result)


def test_nothing_but_the_checks_folder_changes(checked_run, tiny_run):
    def files(run: Path):
        return {path.relative_to(run): path.stat().st_size for path in run.rglob("*") if path.is_file()}

    new = set(files(checked_run[0])) - set(files(tiny_run))
    assert new and all(path.parts[0] == "checks" for path in new)
