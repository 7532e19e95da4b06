"""The first 50 losses of a small training run, for every shipped loss: compared here, written by make_golden.

The setting has no randomness that depends on the machine: no dropout, float32 on one CPU thread, `tiny` in memory.
"""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from xmc.api import HeadContext, Hits, Positives
from xmc.config import build_options
from xmc.data.dataset import load_dataset
from xmc.encode.static import StaticOptions
from xmc.plugin_manager import load_plugins
from xmc.train.bags import Bags
from xmc.train.dual_encoder import DualEncoderOptions
from xmc.train.loop import Trainer, TrainingSet
from xmc.train.options import TrainOptions
from xmc.train.schedule import Pool

FOLDER = Path(__file__).parent
STEPS = 50
COSINE_TEMPERATURE = {"temperature": 0.07}
BAG_SIZES = {"aggregate.interpolated": 4}  # neighbours in the table, with the mean of their labels
SETTINGS = {
    "aggregate.interpolated": {"base_options": COSINE_TEMPERATURE},
    "baselines.binary-cross-entropy": {**COSINE_TEMPERATURE, "bias": -4.0, "reduction": "sum"},
    "baselines.info-nce": COSINE_TEMPERATURE,
    "dexml.decoupled-softmax": COSINE_TEMPERATURE,
    "ldr.aldr-kl": {"lambda_": 0.1, "margin": 0.1},
    "dexml.soft-top-k": COSINE_TEMPERATURE,
    "distill.nd": COSINE_TEMPERATURE,
    "distill.nkd": {**COSINE_TEMPERATURE, "teacher_temperature": 0.05, "direction": 0.5},
    "distill.uskd": COSINE_TEMPERATURE,
    "zloss.taylor-softmax": COSINE_TEMPERATURE,
    "zloss.z-loss": {"sharpness": 0.3, "location": 5.0},
}


class Losses:
    """A reporter that keeps the loss of every step."""

    def __init__(self):
        self.curve = []

    def step_finished(self, step, total_steps, loss, queries):
        self.curve.append(loss)

    def epoch_finished(self, row):
        pass


def shipped_losses():
    """The offers of every loss in the wheel of xmc-engine, under their full names."""
    plugins = load_plugins()
    own = {each.name for each in plugins.loaded if each.distribution == "xmc-engine"}
    return {offer.full_name: offer for offer in plugins.offers["loss"] if offer.plugin in own}


def loss_curve(name, scratch_folder):
    """Train 50 steps (5 epochs of 10) and return their losses."""
    offer, data = shipped_losses()[name], load_dataset("tiny")
    loss = build_options(offer.spec.load(), SETTINGS.get(name, {}), section="loss")
    options = TrainOptions(epochs=5, batch_size=40, learning_rate=0.02, checkpoint_s=3600.0, device="cpu", patience=0)
    encoder_options = StaticOptions(dimension=32, ngrams_shortest=0, ngrams_longest=0)
    losses, threads = Losses(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = encoder_options.build(data.train.texts, data.labels.texts, seed=0)
        queries, labels = encoder.prepare(data.train.texts, "query"), encoder.prepare(data.labels.texts, "label")
        head = DualEncoderOptions().build(
            HeadContext(
                labels=len(data.labels),
                dimension=encoder.dimension,
                similarity=encoder.similarity,
                loss=loss,
                pool=offer.spec.pool,
                encoder=encoder,
                label_features=labels,
                train=options,
            )
        )
        teacher = shared_words(data) if "teacher" in getattr(loss, "needs", ()) else None
        pool, positives = pool_and_positives(data.train.positives, BAG_SIZES.get(name, 0))
        training_set = TrainingSet(queries, pool, positives, len(data.labels), None, teacher)
        Trainer(encoder, head, training_set, options, scratch_folder, {}, lambda best: None, reporter=losses).run()
    finally:
        torch.set_num_threads(threads)
    assert len(losses.curve) == STEPS
    return losses.curve


def shared_words(data):
    """A teacher whose score is the share of a label's words that the query has; every label is on each shortlist."""
    words_L = [set(text.split()) for text in data.labels.texts]
    scores = [len(words & set(text.split())) / len(words) for text in data.train.texts for words in words_L]
    offsets = np.arange(len(data.train) + 1) * len(words_L)
    return Hits(offsets, np.tile(np.arange(len(words_L)), len(data.train)), np.array(scores, dtype=np.float32))


def pool_and_positives(positives, bag_size):
    """The training queries one by one, or in bags of neighbours with the mean of their labels."""
    if not bag_size:
        return Pool(len(positives)), positives
    bag_Q = np.arange(len(positives)) // bag_size
    cells = Counter(zip(bag_Q[positives.query_rows()].tolist(), positives.label_rows.tolist(), strict=True))
    bags, label_rows = np.array(sorted(cells)).T
    weights = np.array([cells[cell] / bag_size for cell in sorted(cells)], np.float32)
    means = Positives(np.searchsorted(bags, np.arange(bag_Q[-1] + 2)), label_rows.astype(np.int32), weights)
    return Pool(len(positives), bags=Bags([f"{bag:03d}" for bag in bag_Q])), means.take(bag_Q)


def golden_file(name):
    return FOLDER / f"{name}.csv"


def read_curve(path):
    with path.open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def curve_as_text(curve):
    return "step,loss\n" + "".join(f"{step},{loss:.9g}\n" for step, loss in enumerate(curve, start=1))
