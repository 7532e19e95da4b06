"""What is said of several runs is what their reports say, with what makes them hard to compare."""

import json

import pytest

import xmc
from xmc.engine.comparing import compare_runs
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


def test_other_data_is_noted(tiny_run_copy, tmp_path):
    xmc.evaluate_run(tiny_run_copy, settings=QUICK)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.toml", "train.json"):
        (other / name).write_text((tiny_run_copy / name).read_text())
    report = json.loads((tiny_run_copy / "report.json").read_text())
    report["data"]["fingerprint"] = "another"
    (other / "report.json").write_text(json.dumps(report))
    notes = compare_runs([tiny_run_copy, other], plugins=load_plugins()).notes
    assert any("different data sets" in note for note in notes)
    (other / "report.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"report\.json.*cannot be read"):
        compare_runs([tiny_run_copy, other], plugins=load_plugins())


def test_a_folder_that_is_no_run_is_an_error(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match="is not a run folder"):
        compare_runs([tiny_run, tmp_path], plugins=load_plugins())
