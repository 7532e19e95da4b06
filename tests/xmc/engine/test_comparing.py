"""What is said of several runs is what their reports say, with what makes them hard to compare."""

import json
import re
import shutil

import numpy as np
import pytest

import xmc
from xmc.engine.comparing import compare_runs
from xmc.engine.describe import describe_run
from xmc.errors import ArtifactError, ConfigError
from xmc.plugin_manager import load_plugins

QUICK = ["evaluate.ks=[1]", "evaluate.bootstrap_samples=0"]


def test_figures_of_an_earlier_state_and_of_other_data_are_noted(tiny_run, tiny_run_copy):
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    xmc.add_labels(tiny_run_copy, {"new": "something else"})
    found = compare_runs([tiny_run, tiny_run_copy], plugins=load_plugins())
    assert [note.partition(" ")[0] for note in found.notes] == [str(tiny_run), str(tiny_run_copy)]
    assert "has changed since its figures were measured" in found.notes[1]
    report = json.loads((tiny_run_copy / "report.json").read_text())
    assert found.figures["test P@1"][1] == report["evaluation"]["overall"]["figures"]["P@1"]
    assert "has changed since its figures were measured" in describe_run(tiny_run_copy)["note"]
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    assert "note" not in describe_run(tiny_run_copy)


def test_other_data_is_noted(tiny_run_copy, tmp_path):
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.toml", "train.json"):
        (other / name).write_text((tiny_run_copy / name).read_text())
    report = json.loads((tiny_run_copy / "report.json").read_text())
    report["data"] |= {"fingerprint": "another", "split_fingerprint": "another"}
    (other / "report.json").write_text(json.dumps(report))
    notes = compare_runs([tiny_run_copy, other], plugins=load_plugins()).notes
    assert any("different data sets" in note for note in notes)
    del report["data"]["split_fingerprint"]  # as reports of before have it
    (other / "report.json").write_text(json.dumps(report))
    notes = compare_runs([tiny_run_copy, other], plugins=load_plugins()).notes
    assert any("different data sets" in note for note in notes)
    (other / "report.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"report\.json.*cannot be read"):
        compare_runs([tiny_run_copy, other], plugins=load_plugins())


def test_other_training_queries_alone_are_told_apart_from_other_data(tiny_run_copy, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_run_copy, other)
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    config = (other / "config.toml").read_text()
    (other / "config.toml").write_text(config.replace("train_queries = 0", "train_queries = 300"))
    xmc.evaluate_run(other, settings=QUICK)
    first, second = (json.loads((run / "report.json").read_text())["data"] for run in (tiny_run_copy, other))
    assert first["fingerprint"] != second["fingerprint"] and first["split_fingerprint"] == second["split_fingerprint"]
    notes = compare_runs([tiny_run_copy, other], plugins=load_plugins()).notes
    assert [note.partition(",")[0] for note in notes] == [
        "the runs were evaluated on the same queries and labels and trained on other queries"
    ]
    (other / "config.toml").write_text(config)
    xmc.evaluate_run(other, settings=QUICK, split="dev")
    assert not compare_runs([tiny_run_copy, other], plugins=load_plugins()).notes, "of dev and test nothing is compared"


def test_figures_weighed_by_other_propensities_are_noted_and_the_pooled_auc_is_among_them(tiny_run_copy, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_run_copy, other)
    xmc.evaluate_run(tiny_run_copy, settings=[*QUICK, "evaluate.auc_negatives=5"])
    report = xmc.evaluate_run(other, settings=[*QUICK, "evaluate.auc_negatives=6", "evaluate.propensity_a=2"])
    found = compare_runs([tiny_run_copy, other], plugins=load_plugins())
    assert any("propensities: A = 0.55, B = 1.5; A = 2, B = 1.5" in note for note in found.notes)
    assert found.figures["test AUC (top 5 negatives)"][1] is None
    assert found.figures["test AUC (top 6 negatives)"][1]["value"] == report.auc.value
    assert describe_run(other)["test AUC (top 6 negatives)"] == round(report.auc.value, 4)
    assert not compare_runs([other, other], plugins=load_plugins()).notes


def test_runs_that_differ_in_their_seed_alone_have_a_mean_and_a_deviation(tiny_run_copy, tmp_path):
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    report = json.loads((tiny_run_copy / "report.json").read_text())
    config = (tiny_run_copy / "config.toml").read_text()
    runs = [tiny_run_copy]
    for seed, value in ((7, 0.2), (8, 0.4)):
        runs.append(tmp_path / f"seed{seed}")
        runs[-1].mkdir()
        (runs[-1] / "train.json").write_text((tiny_run_copy / "train.json").read_text())
        (runs[-1] / "config.toml").write_text(re.sub(r"(?m)^seed = .*$", f"seed = {seed}", config))
        report["evaluation"]["overall"]["figures"]["P@1"]["value"] = value
        (runs[-1] / "report.json").write_text(json.dumps(report))
    found = compare_runs(runs, plugins=load_plugins())
    values = [at["value"] for at in found.figures["test P@1"]]
    over = found.to_dict()["over_seeds"]
    assert [*found.settings] == ["train.seed"] and values[1:] == [0.2, 0.4]
    assert over["figures"]["test P@1"] == {"mean": sum(values) / 3, "deviation": pytest.approx(np.std(values, ddof=1))}
    assert over["training"]["epochs_run"]["deviation"] == 0
    assert compare_runs([runs[1], runs[1]], plugins=load_plugins()).over_seeds is None, "one seed twice"
    (runs[2] / "config.toml").write_text(
        (runs[2] / "config.toml").read_text().replace("batch_size = ", "batch_size = 1")
    )
    assert compare_runs(runs, plugins=load_plugins()).over_seeds is None
    (runs[1] / "report.json").unlink()
    assert "test P@1" not in compare_runs(runs[:2], plugins=load_plugins()).over_seeds["figures"]


def test_a_folder_that_is_no_run_is_an_error(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match="is not a run folder"):
        compare_runs([tiny_run, tmp_path], plugins=load_plugins())
