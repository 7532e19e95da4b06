"""Invariants: a run that was stopped after any step and resumed ends with the bits of one that was not; a checkpoint is
not continued with other data, settings or threads, and a refusal changes nothing."""

import json
import os
import random
import shutil
import signal
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import xmc
from xmc.data.shards import read_table, write_table
from xmc.engine.run_config import resolve
from xmc.engine.training import run_training
from xmc.errors import ArtifactError, ConfigError, InterruptedRunError, NonFiniteError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.layout import encoder_store
from xmc.train.checkpoint import open_store
from xmc.train.loop import SilentReporter

STEPS_PER_EPOCH, STEPS = 4, 12  # 400 queries of `tiny` in batches of 100, three epochs
BASE = ("encoder.dimension=16", "encoder.dropout=0.2", "train.batch_size=100", "train.epochs=3", "train.patience=0")
CASES = {
    "all labels": (),
    "sampled labels": ("train.label_scope=sampled", "train.sampled_labels=20"),
    "two towers": ("encoder.shared=false", "train.clip_norm=0.1", "train.weight_decay=0.01"),
    "row-adagrad with label texts": ("train.optimizer=row-adagrad", "train.label_text_share=0.5", "train.epochs=2"),
}


class StopAt(SilentReporter):
    """Sends this process SIGTERM after a step, as an impatient administrator would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_finished(self, step, total_steps, loss, queries):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


class UnforeseenError(Exception):
    """Something unforeseen."""


class FailAt(StopAt):
    """Raises in the middle of the loop."""

    def step_finished(self, step, total_steps, loss, queries):
        if step == self.step:
            raise UnforeseenError


def train(run, settings=(), *, data="tiny", plugins=None, reporter=None, resume=False):
    plugins = plugins or load_plugins()
    config = resolve(plugins, plugin="dexml", settings=(*BASE, *settings), flags={"data": {"name": str(data)}})
    return run_training(config, run, plugins=plugins, resume=resume, reporter=reporter)


def final_bits(run: Path) -> dict[str, object]:
    """Weights, optimiser, random state and curve; everything but the clock."""
    checkpoint, encoder = open_store(run).current().folder, encoder_store(run).current().folder
    tensors = {
        str(p.relative_to(run)): load_file(p)
        for p in (*checkpoint.rglob("*.safetensors"), *encoder.rglob("*.safetensors"))
    }
    state = json.loads((checkpoint / "state.json").read_text())
    for row in (state["progress"], *state["progress"]["curve"]):
        del row["seconds"]
    bits = {
        f"{Path(file).name} {name}": tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        for file, found in tensors.items()
        for name, tensor in found.items()
    }
    return {**bits, "state": json.dumps(state)}


def stop_after(run: Path, step: int, settings: tuple[str, ...]) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        train(run, settings, reporter=StopAt(step))
    assert caught.value.exit_code == 143
    assert open_store(run).current().manifest.facts["step"] == step
    torch.manual_seed(random.randrange(2**31))  # the state of the process that was stopped is gone


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The final bits of an uninterrupted run of each case."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    made: dict[str, dict[str, object]] = {}

    def bits(case: str) -> dict[str, object]:
        if case not in made:
            train(folder / case, CASES[case])
            made[case] = final_bits(folder / case)
        return made[case]

    return bits


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_stopped_after_any_step(tmp_path, uninterrupted, step):
    """Every step there is: among them the first, the ends of epochs, the one before the last and the last."""
    stop_after(tmp_path, step, CASES["all labels"])
    train(tmp_path, CASES["all labels"], resume=True)
    assert final_bits(tmp_path) == uninterrupted("all labels")


@pytest.mark.parametrize("case", [case for case in CASES if case != "all labels"])
def test_stopped_three_times(tmp_path, uninterrupted, case):
    """At random steps, at the end of an epoch, and by an error between two checkpoints."""
    generator = random.Random(case)
    first = generator.randrange(1, STEPS_PER_EPOCH)
    stop_after(tmp_path, first, CASES[case])
    with pytest.raises(InterruptedRunError):
        train(tmp_path, CASES[case], resume=True, reporter=StopAt(STEPS_PER_EPOCH))
    with pytest.raises(UnforeseenError):
        train(tmp_path, CASES[case], resume=True, reporter=FailAt(STEPS_PER_EPOCH + 2))
    train(tmp_path, CASES[case], resume=True)
    assert final_bits(tmp_path) == uninterrupted(case)


def test_an_error_costs_at_most_the_steps_since_the_last_checkpoint(tmp_path, uninterrupted):
    with pytest.raises(UnforeseenError):
        train(tmp_path, ("train.checkpoint_s=0",), reporter=FailAt(7))
    assert open_store(tmp_path).current().manifest.facts["step"] == 6
    train(tmp_path, resume=True)
    assert final_bits(tmp_path) == uninterrupted("all labels")


def test_without_the_random_state_a_resumed_run_differs(tmp_path, uninterrupted, monkeypatch):
    """The protection removed: or the tests above prove nothing about dropout."""
    stop_after(tmp_path, 5, ())
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    train(tmp_path, resume=True)
    assert final_bits(tmp_path) != uninterrupted("all labels")


def test_without_a_checkpoint_resume_starts_anew(tmp_path, uninterrupted):
    with pytest.raises(UnforeseenError):
        train(tmp_path, reporter=FailAt(3))
    assert not open_store(tmp_path).exists()
    train(tmp_path, resume=True)
    assert final_bits(tmp_path) == uninterrupted("all labels")


def test_resuming_a_finished_run_changes_nothing_and_builds_the_index_again(tmp_path):
    xmc.train_run("tiny", tmp_path, settings=BASE)
    before, built = final_bits(tmp_path), (tmp_path / "index" / "CURRENT").read_bytes()
    report = xmc.train_run("tiny", tmp_path, settings=BASE, resume=True)
    assert report["epochs_run"] == 3
    assert final_bits(tmp_path) == before
    assert (tmp_path / "index" / "CURRENT").read_bytes() != built
    assert len(xmc.Retriever.load(tmp_path).search(["fog"], k=3)[0]) == 3


@pytest.fixture
def stopped(tmp_path):
    """A run that was stopped half-way."""
    stop_after(tmp_path / "run", 6, ())
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rate=0.5", r"train\.learning_rate was 0\.004, is 0\.5"),
        ("train.epochs=4", r"train\.epochs was 3, is 4"),
        ("train.seed=1", r"train\.seed was 0, is 1"),
        ("encoder.dropout=0.3", r"encoder\.dropout was 0\.2, is 0\.3"),
        ("loss.temperature=0.5", r"loss\.temperature was 0\.07, is 0\.5"),
        ("loss.name=baselines.info-nce", r"loss\.name was 'dexml\.decoupled-softmax', is 'baselines\.info-nce'"),
    ],
)
def test_other_settings_are_refused_by_name(stopped, uninterrupted, setting, message):
    configuration = (stopped / "config.toml").read_bytes()
    with pytest.raises(ConfigError, match=message) as caught:
        train(stopped, (setting,), resume=True)
    assert "start anew in another --out folder" in str(caught.value)
    assert (stopped / "config.toml").read_bytes() == configuration
    train(stopped, resume=True)
    assert final_bits(stopped) == uninterrupted("all labels")


def test_settings_that_do_not_touch_the_bits_may_change(stopped, uninterrupted):
    train(stopped, ("train.checkpoint_s=0", "train.patience=50", "train.device=cpu", "evaluate.ks=[1]"), resume=True)
    assert final_bits(stopped) == uninterrupted("all labels")


def test_other_data_is_refused(stopped, tmp_path):
    shutil.copytree(Path(str(resources.files("xmc.datasets") / "tiny")), tmp_path / "other")
    table = read_table(tmp_path / "other" / "train.parquet")
    write_table(tmp_path / "other" / "train.parquet", table.slice(1))
    with pytest.raises(ConfigError, match=r"data was '[0-9a-f]{64}', is '[0-9a-f]{64}'"):
        train(stopped, data=tmp_path / "other", resume=True)


def test_another_number_of_threads_is_refused(stopped):
    torch.set_num_threads(2)
    try:
        with pytest.raises(ConfigError, match="threads was 1, is 2"):
            train(stopped, resume=True)
    finally:
        torch.set_num_threads(1)


def test_resume_and_overwrite_exclude_each_other(stopped):
    before = final_bits(stopped)
    with pytest.raises(ConfigError, match="only one of them"):
        xmc.train_run("tiny", stopped, settings=BASE, resume=True, overwrite=True)
    assert final_bits(stopped) == before


def test_a_damaged_checkpoint_is_not_resumed(stopped):
    file = open_store(stopped).current().folder / "optimiser.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(ArtifactError, match=r"optimiser\.safetensors is damaged"):
        train(stopped, resume=True)


LOSS = """
from dataclasses import dataclass
from xmc.api import LossSpec, hookimpl
from xmc_dexml.decoupled_softmax import DecoupledSoftmax

@hookimpl
def xmc_losses():
    return [LossSpec("sometimes-nan", "sometimes_nan:SometimesNan")]

@dataclass(frozen=True)
class SometimesNan(DecoupledSoftmax):
    calls = []
    bad_call = 3

    def __call__(self, inputs):
        self.calls.append(1)
        losses_Q = super().__call__(inputs)
        return losses_Q * float("nan") if len(self.calls) - 1 == self.bad_call else losses_Q
"""


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint_intact(tmp_path, uninterrupted, monkeypatch):
    (tmp_path / "sometimes_nan.py").write_text(LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    plugins = load_plugins(plugin_file=tmp_path / "sometimes_nan.py")
    settings = ("loss.name=sometimes_nan.sometimes-nan", "loss.temperature=0.07", "train.checkpoint_s=0")
    with pytest.raises(NonFiniteError, match=r"step 3: the loss is not finite.*last checkpoint is intact"):
        train(tmp_path / "run", settings, plugins=plugins)
    assert open_store(tmp_path / "run").current().manifest.facts["step"] == 3
    train(tmp_path / "run", settings, plugins=plugins, resume=True)  # it was a passing fault
    assert final_bits(tmp_path / "run") == uninterrupted("all labels")
