"""Small trainings, each run by one process and by two, whose ends must be the same.

`join(FOLDER)`, in a process with RANK and WORLD_SIZE in its environment, runs them all and writes what they learned.
"""

import json
import os
import signal
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save_file
from train_cases import LetterEncoder, head_context, random_texts

from xmc.api import Positives
from xmc.encode.static import StaticOptions
from xmc.errors import DataError, XmcError
from xmc.plugin_manager import load_plugins
from xmc.train.classifier import ClassifierOptions
from xmc.train.core_optimizers import AdamW, RowAdagradOptions
from xmc.train.distributed import ALONE
from xmc.train.dual_encoder import DualEncoderOptions
from xmc.train.loop import Trainer, TrainingSet
from xmc.train.options import TrainOptions
from xmc.train.process_group import process_group
from xmc.train.replicated_head import head_for_ranks
from xmc.train.reporter import SilentReporter
from xmc.train.schedule import Pool

QUERIES, LABELS = 20, 9
PLUGINS = load_plugins()
OPTIONS = TrainOptions(epochs=3, batch_size=7, learning_rate=0.05, seed=4, checkpoint_s=1e9, sampled_labels=3)


def plugin(kind, name, **options):
    return PLUGINS.find(kind, name).spec.load()(**options)


DEXML = plugin("loss", "dexml.decoupled-softmax", temperature=0.5)
POOLED = plugin("loss", "mw.mann-whitney")
ROW_STATE = plugin("loss", "ldr.aldr-kl")
Z_LOSS = plugin("loss", "zloss.z-loss")
SAMPLED = {"label_scope": "sampled"}


def letters(**options):
    """In float64: where the true gradient is zero, AdamW would take the rounding of float32 for a direction."""
    return LetterEncoder(**{"whole_label_graph": True, **options})


def float32_letters():
    return letters(dtype=torch.float32)


def cosine_letters():
    encoder = float32_letters()
    encoder.similarity = "cosine"
    return encoder


def static():
    texts = random_texts(QUERIES, 1) + random_texts(LABELS, 2)
    return StaticOptions(dimension=4, dropout=0.0).build(texts, texts, seed=0)


# encoder, head, loss, pool of the loss, options
CASES = {
    "all labels": (letters, DualEncoderOptions(), DEXML, "row", {}),
    "adamw with decay and clipping": (
        letters,
        DualEncoderOptions(),
        DEXML,
        "row",
        {"weight_decay": 0.01, "clip_norm": 0.05},
    ),
    "a batch of one query": (letters, DualEncoderOptions(), DEXML, "row", {"batch_size": 19}),
    "cached gradients": (
        lambda: letters(whole_label_graph=False),
        DualEncoderOptions(),
        DEXML,
        "row",
        {"label_chunk": 2},
    ),
    "sampled labels": (letters, DualEncoderOptions(), DEXML, "row", SAMPLED),
    "accumulated batches": (letters, DualEncoderOptions(), DEXML, "row", {**SAMPLED, "batch_size": 3, "accumulate": 3}),
    "the whole batch pooled": (letters, DualEncoderOptions(), POOLED, "batch", SAMPLED),
    "a state for each query": (letters, DualEncoderOptions(), ROW_STATE, "row", {"batch_size": 3, "accumulate": 2}),
    "sparse gradients of the encoder": (static, DualEncoderOptions(), DEXML, "row", {"clip_norm": 0.05}),
    "sparse gradients, sampled labels": (static, DualEncoderOptions(), DEXML, "row", SAMPLED),
    "classifier over text": (letters, ClassifierOptions(), DEXML, "row", {"clip_norm": 0.05}),
    "classifier, cosine, sampled labels": (cosine_letters, ClassifierOptions(), DEXML, "row", SAMPLED),
    "classifier without text": (float32_letters, ClassifierOptions(text=False), DEXML, "row", SAMPLED),
    "classifier, accumulated batches": (
        float32_letters,
        ClassifierOptions(text=False),
        DEXML,
        "row",
        {**SAMPLED, "batch_size": 3, "accumulate": 3},
    ),
    "a head that knows no ranks": (
        float32_letters,
        plugin("head", "zloss.factored"),
        Z_LOSS,
        "row",
        {"clip_norm": 0.05},
    ),
}


def make_positives(queries=QUERIES, seed=0):
    generator = np.random.default_rng(seed)
    rows = [np.sort(generator.choice(LABELS, size=generator.integers(0, 4), replace=False)) for _ in range(queries)]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    flat = np.concatenate(rows).astype(np.int32)
    return Positives(offsets, flat, (1 + generator.random(len(flat))).astype(np.float32))


def make_trainer(case, folder, *, ranks=ALONE, loss=None, **more):
    make_encoder, head_options, own_loss, pool, settings = CASES[case]
    loss = loss or own_loss
    encoder, options = make_encoder(), replace(OPTIONS, **settings)
    context = head_context(encoder, options, loss=loss, pool=pool, labels=random_texts(LABELS, 2))
    head = head_options.build(replace(context, ranks=None if ranks.size == 1 else ranks))
    held_out = (encoder.prepare(random_texts(5, 7), "query"), make_positives(5, seed=7))
    data = TrainingSet(
        encoder.prepare(random_texts(QUERIES, 1), "query"), Pool(QUERIES), make_positives(), LABELS, held_out
    )
    head = head_for_ranks(head, ranks=ranks, batch_size=options.batch_size)
    optimizer = RowAdagradOptions() if case.startswith("sparse gradients") else AdamW()
    more = {"on_best": lambda _: None, "optimizer_options": optimizer, **more}
    return Trainer(encoder, head, data, options, folder, {}, ranks=ranks, **more)


def learned(case, folder, *, ranks=ALONE):
    """Everything that a case learned: weights, the head's state, optimiser, losses and validation figures."""
    trainer = make_trainer(case, folder, ranks=ranks)
    progress = trainer.run()
    moments = {
        f"moment {number} {name}": value
        for number, entries in trainer.optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }
    curve = torch.tensor([[row["loss"], row["validation_p1"]] for row in progress.curve])
    tensors = {**trainer.encoder.module.state_dict(), **trainer.head.state(), **moments, "curve": curve}
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


class NaNOnRank1:
    """A loss that breaks down on one rank, for its second query."""

    def __init__(self, ranks):
        self.ranks = ranks

    def __call__(self, inputs):
        losses_Q = DEXML(inputs)
        return torch.where(torch.arange(len(losses_Q)) == self.ranks.rank, losses_Q, losses_Q * float("nan"))


class StopRank1(SilentReporter):
    """SIGTERM for one rank after the third step."""

    def __init__(self, ranks):
        self.ranks = ranks

    def step_finished(self, step, total_steps, loss, queries):
        if step == 3 and self.ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def break_loss(ranks, folder):
    trainer = make_trainer("all labels", folder, ranks=ranks, loss=NaNOnRank1(ranks))
    trainer.run()


def stop(ranks, folder):
    make_trainer("all labels", folder, ranks=ranks, reporter=StopRank1(ranks)).run()


def refuse(ranks, folder):
    with ranks.together():
        if ranks.rank == 1:
            raise DataError("rank 1 finds no data.", hint="Copy it.")


def drift(ranks, folder):
    ranks.require_same([torch.ones(2), torch.tensor(float(ranks.rank))], what="encoders")


FAILURES = {"nan": break_loss, "signal": stop, "refused": refuse, "drift": drift}


def run_all(ranks, folder):
    """Every case and every failure on this rank; what it learned and what it said go into the folder."""
    for case in CASES:
        save_file(learned(case, folder / f"{case}.run", ranks=ranks), folder / f"{case}.{ranks.rank}")
    said = {}
    for name, fail in FAILURES.items():
        try:
            fail(ranks, folder / f"{name}.run")
        except XmcError as error:
            said[name] = [type(error).__name__, str(error)]
    (folder / f"said.{ranks.rank}").write_text(json.dumps(said))


def join(folder: str) -> None:
    """Be the process that the environment says."""
    with process_group("cpu") as ranks:
        run_all(ranks, Path(folder))
