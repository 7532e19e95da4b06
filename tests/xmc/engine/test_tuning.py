"""Invariants: what is chosen by goal is the run's index, configuration and report; a refusal changes nothing."""

import json
import shutil
import tomllib

import pyarrow.parquet as pq
import pytest

import xmc
from xmc.engine.verbs import check_run, tune_run
from xmc.errors import ConfigError, XmcWarning
from xmc.retrieve.layout import index_store
from xmc.tune.goal import Goal
from xmc.tune.report import COLUMNS

TEXTS = ["tender tram vehicle", "cold stone"]


@pytest.fixture
def run(tiny_run_copy):
    return tiny_run_copy


def files(run):
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.name != ".lock")


def test_exact_search_of_few_labels(run):
    report = xmc.index_run(run, target_recall=0.95)
    assert report.backend == "exact" and report.choice["recall"] == 1.0 and report.choice["seed"] == 0
    assert report.choice["goal"]["target_recall"] == 0.95 and report.choice["exact"]["memory_bytes"] > 0
    version = index_store(run).current()
    recorded = json.loads((version.folder / "index.json").read_text())["report"]["choice"]
    assert recorded == report.choice == xmc.Retriever.load(run).report.choice
    folder = version.folder / "tuning"
    assert {path.name for path in folder.iterdir()} == {
        "report.json", "curve.parquet", "curve.csv", "curve.png", "curve.svg",
    }  # fmt: skip
    table = pq.read_table(folder / "curve.parquet")
    assert tuple(table.column_names) == COLUMNS and table["chosen"].to_pylist() == [True, True]
    assert len((folder / "curve.csv").read_text().splitlines()) == len(table) + 1
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    details = json.loads((folder / "report.json").read_text())
    assert details["tried"][0]["verdict"] == "chosen" and details["versions"]["torch"]


def test_what_does_not_serve_changes_nothing(run):
    before = files(run), (run / "config.toml").read_bytes()
    with pytest.raises(ConfigError, match="Allow more memory"):
        xmc.index_run(run, memory_bytes=1000)
    with pytest.raises(ConfigError, match=r"got index\.name\..*not both"):
        xmc.index_run(run, target_recall=0.9, settings=["index.name=exact"])
    with pytest.raises(ConfigError, match=r"the settings are the string .* Give a list"):
        xmc.index_run(run, target_recall=0.9, settings="index.name=exact")
    tuned = tune_run(run, Goal(target_recall=0.9), dry_run=True)
    assert tuned.index.backend == "exact"
    assert (files(run), (run / "config.toml").read_bytes()) == before


def test_a_calibration_of_the_earlier_index_is_stale(run):
    check_run(run, ["calibrate"])
    assert xmc.Retriever.load(run).fitted.calibration is not None
    with pytest.warns(XmcWarning, match=r"fitted for an earlier index\. Make it again: xmc check calibrate --run"):
        xmc.index_run(run, settings=["index.name=faiss.ivf", "index.nlist=4"])
    fitted = xmc.Retriever.load(run, warn=False).fitted
    assert fitted.calibration is None and "an earlier index" in fitted.stale()[0]


def test_the_second_stage_is_measured_at_the_depth_of_its_shortlist(run):
    (run / "config.toml").write_text(
        (run / "config.toml")
        .read_text()
        .replace('[reranker]\nname = "none"', '[reranker]\nname = "linear.one-vs-rest"')
    )
    shutil.rmtree(run / "hits", ignore_errors=True)
    if "linear.one-vs-rest" not in (run / "config.toml").read_text():
        pytest.fail("the configuration has changed its form")
    tuned = tune_run(run, Goal(target_recall=0.9), dry_run=True)
    depth = tomllib.loads((run / "config.toml").read_text())["fusion"]["depth"]
    assert tuned.choice.goal.k == depth > 10


def test_an_approximate_index_is_kept_with_its_search_options_and_built_again_by_its_name(run, monkeypatch):
    import xmc_index_faiss.hnsw
    from xmc_index_exact.exact import Exact

    monkeypatch.setattr(xmc_index_faiss.hnsw, "FEWEST_LABELS", 10)
    monkeypatch.setattr(Exact, "proposals", classmethod(lambda cls, **sizes: []))
    report = xmc.index_run(run, target_recall=0.5, k=5)
    assert report.backend == "faiss.hnsw" and report.choice["exact"] is None
    ef = report.choice["search_options"]["ef"]
    section = tomllib.loads((run / "config.toml").read_text())["index"]
    assert section["name"] == "faiss.hnsw" and section["ef"] == ef == report.options["ef"]
    retriever = xmc.Retriever.load(run)
    assert retriever.report.backend == "faiss.hnsw" and retriever.report.options == report.options
    found = retriever.search(TEXTS, k=3)
    again = xmc.index_run(run)
    assert again.options == report.options and again.choice is None
    assert xmc.Retriever.load(run).search(TEXTS, k=3) == found
