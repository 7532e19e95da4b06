"""Invariants: `auto` is all labels while that is a matter of minutes, sampled ones beyond; the report says which, and
the run keeps the word; a resumed run goes on with it; the ladder below a training scores as the training."""

import json

import pytest

from xmc.data.dataset import load_dataset
from xmc.engine import training_set
from xmc.engine.ladder import ladder
from xmc.engine.run_config import read_run_config, resolve
from xmc.engine.training import run_training
from xmc.engine.training_set import PAIRS_AN_EPOCH, with_label_scope
from xmc.plugin_manager import load_plugins

PLUGINS = load_plugins()
QUICK = ("encoder.dimension=8", "train.epochs=1", "train.device=cpu")
DATA = load_dataset("tiny")
PAIRS = len(DATA.train) * len(DATA.labels)


def configured(*settings, plugin="dexml"):
    return resolve(PLUGINS, plugin=plugin, settings=[*QUICK, *settings], flags={"data": {"name": "tiny"}})


def settled(config):
    return with_label_scope(config, DATA).train.label_scope


def test_the_words_that_say_it_are_the_numbers():
    assert PAIRS_AN_EPOCH == {"cpu": 4e9, "cuda": 400e9}
    text = " ".join(type(configured().train).__doc__.split())
    assert "at most 4 billion pairs of a query and a label (400 billion on a GPU)" in text


@pytest.mark.parametrize(("limit", "scope"), [(PAIRS, "all"), (PAIRS - 1, "sampled")])
def test_auto_is_settled_by_the_pairs_of_an_epoch(monkeypatch, limit, scope):
    monkeypatch.setitem(PAIRS_AN_EPOCH, "cpu", limit)
    assert settled(configured()) == scope
    for said in ("all", "sampled", "mined"):
        assert settled(configured(f"train.label_scope={said}")) == said


@pytest.mark.parametrize("plugin", ["zloss.factored", "linear"])
def test_heads_to_which_all_labels_are_no_cost_get_all(monkeypatch, plugin):
    monkeypatch.setitem(PAIRS_AN_EPOCH, "cpu", 1)
    settings = [setting for setting in QUICK if plugin != "linear"]
    config = resolve(PLUGINS, plugin=plugin, settings=settings, flags={"data": {"name": "tiny"}})
    assert settled(config) == "all"


def test_the_report_says_what_auto_came_to_and_a_resumed_run_goes_on_with_it(monkeypatch, tmp_path):
    monkeypatch.setitem(PAIRS_AN_EPOCH, "cpu", PAIRS - 1)
    config = configured("train.sampled_labels=20")
    report = run_training(config, tmp_path / "run", plugins=PLUGINS)
    assert report["label_scope"] == "sampled"
    assert json.loads((tmp_path / "run" / "train.json").read_text())["label_scope"] == "sampled"
    assert read_run_config(PLUGINS, tmp_path / "run").train.label_scope == "auto"
    said = configured("train.sampled_labels=20", "train.label_scope=sampled")
    plain = run_training(said, tmp_path / "same", plugins=PLUGINS)
    assert plain["best_validation_p1"] == report["best_validation_p1"]
    again = run_training(config, tmp_path / "run", plugins=PLUGINS, resume=True)
    assert again["label_scope"] == "sampled" and again["epochs_run"] == 1


def test_the_ladder_scores_as_the_training_it_predicts(monkeypatch):
    monkeypatch.setitem(training_set.PAIRS_AN_EPOCH, "cpu", PAIRS - 1)
    rungs = ladder(configured(), DATA, budget=1.0)
    assert {rung.config.train.label_scope for rung in rungs} == {"sampled"}
