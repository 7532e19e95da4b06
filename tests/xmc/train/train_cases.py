"""A small torch encoder with dropout for the tests of training: mean of letter vectors, one layer, a tower each."""

from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from xmc.api import HeadContext
from xmc.train.dual_encoder import DualEncoderOptions

LETTERS = "abcdefgh"


class Letters(tuple):
    """Prepared texts: one row of letter counts each."""

    def take(self, rows):
        return Letters(self[int(row)] for row in rows)


class LetterEncoder:
    name, similarity, dimension = "letters", "dot", 4
    row_gradients = False

    def __init__(self, *, dropout=0.0, whole_label_graph=False, seed=0, dtype=torch.float64):
        torch.manual_seed(seed)
        self.whole_label_graph = whole_label_graph
        tower = lambda: nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 4))  # noqa: E731
        self.module = nn.ModuleDict({"query": tower(), "label": tower()}).to(dtype)
        self.dtype = dtype

    def label_parameters(self):
        return list(self.module["label"].parameters())

    def prepare(self, texts: Sequence[str], role):
        return Letters(tuple(text.count(letter) / len(text) for letter in LETTERS) for text in texts)

    def embed(self, features, role):
        return self.module[role](torch.tensor(features, dtype=self.dtype))

    def save_training(self, folder):
        save_file({name: tensor.contiguous() for name, tensor in self.module.state_dict().items()}, folder / "weights")


def random_texts(count, seed):
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list(LETTERS), size=6)) for _ in range(count)]


def head_context(encoder, options, *, loss, pool="row", labels):
    """What a head is built from when the labels are these texts."""
    return HeadContext(
        labels=len(labels),
        dimension=encoder.dimension,
        similarity=encoder.similarity,
        loss=loss,
        pool=pool,
        encoder=encoder,
        label_features=encoder.prepare(labels, "label"),
        train=options,
    )


def dual_encoder(encoder, options, *, loss, pool="row", labels):
    """The head that embeds the labels' texts."""
    return DualEncoderOptions().build(head_context(encoder, options, loss=loss, pool=pool, labels=labels))
