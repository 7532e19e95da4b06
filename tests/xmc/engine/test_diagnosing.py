"""Invariants, on real runs of the shipped data: a dual encoder and a classifier are diagnosed with finite figures, and
report and picture are written; features and answers are those of the run; the same seed gives the same; what is no
plain linear head is refused."""

import json

import numpy as np
import pytest

import xmc
from xmc.data.dataset import load_dataset
from xmc.engine.diagnosing import diagnose_head
from xmc.errors import ConfigError, DataError
from xmc.plugin_manager import load_plugins
from xmc.privacy.privatise import privatise

CLASSIFIER = ("encoder.dimension=32", "train.epochs=2", "train.learning_rate=0.02", "head.name=classifier")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    run = tmp_path_factory.mktemp("diagnosing") / "classifier"
    xmc.train_run("tiny", run, settings=CLASSIFIER)
    return run


def test_a_dual_encoder_is_diagnosed(tiny_run_copy):
    found = xmc.diagnose_run(tiny_run_copy)
    head, report = found.diagnosis, json.loads((tiny_run_copy / "train.json").read_text())
    assert (head.queries, head.features, head.answers) == (400, 32, 60)
    assert head.run_step == found.measured_step == report["best_epoch"] * report["plan"]["steps"] // 4
    for values in (head.predicted_T, head.measured_T, head.modes.eigenvalues_M):
        assert np.isfinite(values).all() and (values > 0).all()
    assert head.measured_T[0] == pytest.approx(1, abs=0.01) and head.measured_T.min() < 0.6 and head.snr > 0.5
    assert np.abs(head.predicted_T / head.measured_T - 1).max() < 0.25
    written = json.loads((tiny_run_copy / "diagnosis" / "report.json").read_text())
    assert written == json.loads(json.dumps(found.to_dict()))
    assert {path.suffix for path in (tiny_run_copy / "diagnosis").iterdir()} == {".json", ".png", ".svg"}
    assert xmc.diagnose_run(tiny_run_copy).to_dict() == found.to_dict()


def test_a_seed_below_0_is_refused(classifier):
    with pytest.raises(ConfigError, match="seed must be 0 or more, got -1"):
        xmc.diagnose_run(classifier, seed=-1)


def test_a_classifier_is_diagnosed_and_placed_on_the_flow(classifier):
    head = diagnose_head(classifier, plugins=load_plugins(), device="cpu").diagnosis
    assert head.times_T[0] <= head.run_time <= head.times_T[-1] and head.run_fit <= 1
    assert head.advice.advice in ("more data", "wider", "stop earlier", "none") and head.advice.reason


def test_a_model_that_was_never_trained_is_diagnosed_without_a_step(tmp_path):
    xmc.train_run("tiny", tmp_path / "run", settings=("train.epochs=0", "encoder.dimension=16"))
    found = xmc.diagnose_run(tmp_path / "run")
    assert found.measured_step is found.diagnosis.run_step is found.diagnosis.stopping_step is None
    assert found.diagnosis.stopping_time > 0


def test_refusals(tiny_run_copy, tmp_path):
    xmc.train_run("tiny", tmp_path / "linear", plugin="linear")
    with pytest.raises(ConfigError, match="fitted in one go"):
        xmc.diagnose_run(tmp_path / "linear")
    factored = (*CLASSIFIER[:3], "train.label_learning_rate=0.02")
    xmc.train_run("tiny", tmp_path / "factored", plugin="zloss.factored", settings=factored[:2])
    with pytest.raises(ConfigError, match="not a plain linear head"):
        xmc.diagnose_run(tmp_path / "factored")
    report = json.loads((tiny_run_copy / "train.json").read_text())
    report["data"]["fingerprint"] = load_dataset("icd10cm").fingerprint
    (tiny_run_copy / "train.json").write_text(json.dumps(report))
    with pytest.raises(DataError, match=r"another state of the data set 'tiny'.* Put the data set back"):
        xmc.diagnose_run(tiny_run_copy)
    privatise("tiny", tmp_path / "private", epsilon="1", bag_size=4, public=("dev",))
    report["data"]["fingerprint"] = load_dataset(tmp_path / "private").fingerprint
    (tiny_run_copy / "train.json").write_text(json.dumps(report))
    config = (tiny_run_copy / "config.toml").read_text()
    (tiny_run_copy / "config.toml").write_text(config.replace('name = "tiny"', f'name = "{tmp_path / "private"}"'))
    with pytest.raises(DataError, match="was trained on labels of bags"):
        xmc.diagnose_run(tiny_run_copy)
