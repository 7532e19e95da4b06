"""Runs that are stopped, by a signal or by an error, and the bits by which their ends are compared."""

import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from xmc.engine.run_config import resolve
from xmc.engine.training import run_training
from xmc.errors import InterruptedRunError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.layout import encoder_store
from xmc.train.checkpoint import open_store
from xmc.train.reporter import SilentReporter

STEPS_PER_EPOCH, STEPS = 4, 12  # 400 queries of `tiny` in batches of 100, three epochs
BASE = ("encoder.dimension=16", "encoder.dropout=0.2", "train.batch_size=100", "train.epochs=3", "train.patience=0")
RANDOM, WORST = "augmentation.name=robust.random", "augmentation.name=robust.worst-case"
KFAC = (
    *("encoder.name=lstm", "encoder.dimension=12", "encoder.token_dimension=6", "encoder.hidden=5"),
    *("head.name=classifier", "head.text=false", "train.batch_size=100", "train.label_text_share=0"),
    *("optimizer.name=kfac", "optimizer.factor_steps=2", "optimizer.inverse_steps=3", "train.learning_rate=0.05"),
)
CASES = {
    "all labels": (),
    "sampled labels, random substitutions": ("train.label_scope=sampled", "train.sampled_labels=20", RANDOM),
    "one positive, a number for each query": ("loss.name=ldr.aldr-kl", "loss.lambda_=0.1", "train.sampled_positives=1"),
    "two towers, worst-case substitutions": (
        "encoder.shared=false",
        "train.clip_norm=0.1",
        "train.weight_decay=0.01",
        WORST,
    ),
    "kfac over an lstm with a label matrix": KFAC,
    "a mixture of experts with a capacity": (
        "encoder.name=moe-static",
        "encoder.shared=false",
        "encoder.capacity=1.25",
    ),
    "row-adagrad with label texts": ("optimizer.name=row-adagrad", "train.label_text_share=0.5", "train.epochs=2"),
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


def train(run, settings=(), *, data="tiny", plugins=None, reporter=None, resume=False, base=BASE):
    plugins = plugins or load_plugins()
    config = resolve(plugins, plugin="dexml", settings=(*base, *settings), flags={"data": {"name": str(data)}})
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
    del state["progress"]["augmentation_s"]
    bits = {
        f"{Path(file).name} {name}": tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        for file, found in tensors.items()
        for name, tensor in found.items()
    }
    return {**bits, "state": json.dumps(state)}


def stop_after(run: Path, step: int, settings: tuple[str, ...], *, base: tuple[str, ...] = BASE) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        train(run, settings, reporter=StopAt(step), base=base)
    assert caught.value.exit_code == 143
    assert open_store(run).current().manifest.facts["step"] == step
    torch.manual_seed(random.randrange(2**31))  # the state of the process that was stopped is gone
