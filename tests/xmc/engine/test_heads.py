"""Invariants: every head trains, resumes to the same bits, is indexed, searched and evaluated through one door."""

import functools
import json

import numpy as np
import pytest
import torch

import xmc
from xmc.engine.mining import same_text_groups
from xmc.engine.run_config import resolve
from xmc.engine.training import run_training
from xmc.errors import ConfigError, DataError
from xmc.plugin_manager import load_plugins

SMALL = ("train.epochs=4", "train.batch_size=40", "train.patience=0", "encoder.dimension=32", "train.device=cpu")
CLASSIFIER = (*SMALL, "head.name=classifier")
MINED = (*CLASSIFIER, "train.label_scope=mined", "train.sampled_labels=8", "train.hard_negatives=3")
TEXT_FREE = (*CLASSIFIER, "head.text=false", "head.learning_rate=0.1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of such settings, each trained once; nothing of what is trained may be changed."""

    @functools.cache
    def run(settings):
        folder = tmp_path_factory.mktemp("heads") / "run"
        xmc.train_run("tiny", folder, settings=settings)
        return folder

    return run


@pytest.mark.parametrize("settings", [CLASSIFIER, MINED, TEXT_FREE], ids=["with text", "mined", "rows alone"])
def test_a_classifier_trains_and_answers(trained, settings):
    run = trained(settings)
    report = xmc.evaluate_run(run, split="test", settings=["evaluate.auc_negatives=20"])
    assert report.overall.figures["P@1"].value > 0.5
    assert report.auc is not None and report.auc.value > 0.5
    retriever = xmc.Retriever.load(run)
    assert (retriever.model.folder / "head" / "state.safetensors").is_file()
    vectors_LD = torch.cat(list(retriever.model.label_vectors(retriever.labels)[0]))
    queries_QD = retriever.encode(["fog"])
    hits = retriever.search_embeddings(queries_QD, k=3)
    wanted = (queries_QD @ vectors_LD.T)[0].topk(3)
    np.testing.assert_allclose(hits.scores, wanted.values.numpy(), rtol=1e-5)


class StopAfter:
    """Interrupts a run after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def step_finished(self, step, total_steps, loss, queries):
        if step == self.steps:
            raise KeyboardInterrupt

    def epoch_finished(self, row):
        pass


@pytest.mark.parametrize("settings", [CLASSIFIER, MINED], ids=["all labels", "mined"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, settings):
    plugins = load_plugins()
    config = resolve(
        plugins, plugin="dexml", settings=(*settings, "train.checkpoint_s=0"), flags={"data": {"name": "tiny"}}
    )
    run_training(config, tmp_path / "whole", plugins=plugins)
    with pytest.raises(KeyboardInterrupt):
        run_training(config, tmp_path / "parts", plugins=plugins, reporter=StopAfter(13))
    run_training(config, tmp_path / "parts", plugins=plugins, resume=True)
    states = [tensors_of(tmp_path / name) for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys() and "matrix" in states[0]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def tensors_of(run):
    from safetensors.torch import load_file

    folder = run / "checkpoint" / json.loads((run / "checkpoint" / "CURRENT").read_text())["version"]
    return load_file(folder / "head.safetensors")


def test_a_label_that_was_not_there_in_training_is_refused(trained):
    retriever = xmc.Retriever.load(trained(CLASSIFIER))
    with pytest.raises(DataError, match="'new', was not there in training") as caught:
        retriever.model.label_vectors(type(retriever.labels)(["new"], ["a new label"]))
    assert "dual-encoder" in caught.value.hint


def test_a_run_without_head_section_is_a_dual_encoder(tiny_run_copy):
    text = (tiny_run_copy / "config.toml").read_text()
    assert 'name = "dual-encoder"' in text
    before = xmc.Retriever.load(tiny_run_copy).search(["fog"], k=3)
    (tiny_run_copy / "config.toml").write_text(text.replace('[head]\nname = "dual-encoder"\n', ""))
    xmc.index_run(tiny_run_copy)
    assert xmc.Retriever.load(tiny_run_copy).search(["fog"], k=3) == before


def test_same_text():
    assert same_text_groups(["a", "b", " A "]).tolist() == [0, 1, 0]


def test_bfloat16_products_need_a_head_that_makes_them(tmp_path, monkeypatch):
    monkeypatch.setattr("xmc.train.precision.has_bfloat16", lambda device: True)  # refused before any is made
    settings = ["encoder.similarity=dot", "train.precision=bfloat16", "train.epochs=1"]
    with pytest.raises(ConfigError, match="does not make"):
        xmc.train_run("tiny", tmp_path / "run", plugin="zloss.factored", settings=settings)
