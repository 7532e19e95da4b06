"""The tables of the benchmarks by loss: they name settings that exist, the recipe's own rates, and every loss there is.

Invariants: each variant resolves; at factor 1 the learning rates are those of the recipe; tuning tries every factor and
keeps the rows of subjects that were not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from xmc.engine.run_config import resolve
from xmc.plugin_manager import load_plugins

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench_eurlex57k
import bench_wordnet
import by_loss
from quality import Cost, Subject

TASKS = [bench_eurlex57k.TASK, bench_wordnet.TASK]
OF_OTHER_DATA = {"aggregate.interpolated"}  # of bags of queries; bench_aggregate.py measures it


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.data)
def test_every_variant_is_a_configuration(task, plugins):
    for name, variant in task.variants.items():
        config = resolve(plugins, plugin=task.plugin, settings=[*task.settings, *variant.settings])
        assert config.evaluate.auc_negatives == 500, name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.data)
def test_the_learning_rates_are_those_of_the_recipe(task, plugins):
    train = resolve(plugins, plugin=task.plugin).train
    for key, rate in task.learning_rates.items():
        assert getattr(train, key.removeprefix("train.")) == rate
    assert task.baseline in task.variants
    assert train.label_learning_rate in (0.0, task.learning_rates.get("train.label_learning_rate"))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.data)
def test_every_loss_of_the_tree_is_measured(task, plugins):
    measured = {
        resolve(plugins, plugin=task.plugin, settings=variant.settings).loss.name for variant in task.variants.values()
    }
    folders = {path.name.removeprefix("xmc_") for path in (Path(__file__).parents[2] / "plugins").glob("xmc_*")}
    offers = [offer for offer in plugins.offers["loss"] if "teacher" not in getattr(offer.spec.load(), "needs", ())]
    losses = {offer.full_name for offer in offers} - OF_OTHER_DATA
    assert {name for name in losses if name.split(".")[0] in folders} <= measured


def _subject(name, p1):
    figure = {"value": p1, "low": p1, "high": p1}
    overall = {"name": "all", "figures": {"P@1": figure}}
    report = {
        "evaluation": {"overall": overall, "bands": [], "auc": {"value": 0.9}},
        "search": {"queries_per_s": 100.0},
    }
    return Subject(name, report, {"plan": {"threads": 1}}, Cost(2.0, 1.0, 3.0), Cost(1.0, 1.0, 1.0), "")


def test_tuning_tries_every_factor_and_keeps_other_subjects(tmp_path, capsys):
    variants = {"good": by_loss.Variant((), factor=0.1), "other": by_loss.Variant(())}
    variants["fixed"] = by_loss.Variant((), tuned=False)
    task = by_loss.Task("d", "q", "dexml", {}, ("P@1",), ("overall",), "P@1", variants, baseline="good")
    tried = []

    def run(name, *, factor):
        tried.append((name, factor))
        return _subject(f"{name} x{factor:.2g}", factor / 10)

    by_loss.tune(task, ["other"], run, results=tmp_path)
    by_loss.tune(task, ["good", "fixed"], run, results=tmp_path)
    by_loss.tune(task, ["other"], run, results=tmp_path)
    assert [name for name, _ in tried] == ["other"] * 3 + ["good"] * 3 + ["other"] * 3
    assert [factor for _, factor in tried[2:6]] == pytest.approx([3.0, 0.1 / 3, 0.1, 0.3])
    assert "good: P@1 on dev x0.033 0.33, x0.1 1.00, x0.3 3.00; best factor 0.3" in capsys.readouterr().out
    rows = [(row["subject"], row["median"]) for row in by_loss._rows_in(tmp_path / "d_tuning.csv") if row["x"] == "P@1"]
    assert rows == [
        ("good x0.033", "0.33"), ("good x0.1", "1.0"), ("good x0.3", "3.0"),
        ("other x0.33", "3.33"), ("other x1", "10.0"), ("other x3", "30.0"),
    ]  # fmt: skip


def test_measuring_some_subjects_keeps_the_rows_of_the_others(tmp_path):
    variants = {"a": by_loss.Variant(()), "b": by_loss.Variant((), factor=3.0)}
    task = by_loss.Task("d", "q", "dexml", {}, ("P@1",), ("overall",), "P@1", variants, baseline="a")
    by_loss.final(task, ["a", "b"], lambda name, *, factor: _subject(name, factor / 10), results=tmp_path)
    by_loss.final(task, ["a"], lambda name, *, factor: _subject(name, 0.2), results=tmp_path)
    rows = by_loss._rows_in(tmp_path / "d.csv")
    assert {row["subject"]: row["median"] for row in rows if row["x"] == "P@1"} == {"a": "20.0", "b": "30.0"}


def test_a_variant_runs_at_its_factor_on_test(tmp_path, monkeypatch):
    said = {}
    monkeypatch.setattr(by_loss, "run_subject", lambda name, **rest: said.update(name=name, **rest))
    task = bench_eurlex57k.TASK
    options = SimpleNamespace(tune=False, set=["train.epochs=1"])
    by_loss.run_variant(task, "InfoNCE", factor=3.0, data="d", work=tmp_path, options=options)
    assert said["split"] == "test" and said["name"] == "InfoNCE"
    assert "train.learning_rate=0.6" in said["settings"] and said["settings"][-1] == "train.epochs=1"
