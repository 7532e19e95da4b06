"""The `sparse-tfidf` encoder: TF-IDF vectors themselves, one number for each word, for linear models over words.

Nothing in it is trained by gradients: learning is the head's. Queries and labels share the queries' vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xmc.encode.bags import Bags
from xmc.encode.csr import csr_tensor
from xmc.encode.description import DESCRIPTION_NAME, read_description
from xmc.encode.encoder import Role, Similarity
from xmc.encode.learned_bags import LearnedBags
from xmc.encode.word_bags import BlockOptions, WordBags
from xmc.option_ranges import require_at_least

BAGS_NAME = "word_bags.json"


@dataclass(frozen=True)
class SparseTfidfOptions:
    """Options of the sparse-tfidf encoder.

    `minimum_count`: a word or pair of the queries counts when at least so many queries have it.
    `opening`: the first so many words of a text have features of their own, and so have their pairs (0 = none).
    `pairs`: pairs of neighbouring words of the whole text are features too.
    """

    minimum_count: int = 2
    opening: int = 0
    pairs: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "minimum_count")
        require_at_least(0, self, "opening")

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> SparseTfidfEncoder:
        """The encoder of these queries' words; neither label texts nor the seed matter."""
        blocks = BlockOptions(self.opening, self.pairs, self.minimum_count, constant=True)
        return SparseTfidfEncoder(LearnedBags.learn(query_texts, blocks))

    def load(self, folder: Path) -> SparseTfidfEncoder:
        """The encoder that `SparseTfidfEncoder.save` wrote.

        Raises: ArtifactError when the folder holds another kind of encoder.
        """
        read_description(folder, SparseTfidfEncoder.name)
        return SparseTfidfEncoder(LearnedBags(WordBags.load(folder / BAGS_NAME)))

    def load_training(self, folder: Path) -> SparseTfidfEncoder:
        """The encoder that `SparseTfidfEncoder.save_training` wrote."""
        return self.load(folder)


class SparseTfidfEncoder:
    """TF-IDF vectors as CSR tensors; see the module's docstring. Safe for several threads.

    The last feature is 1 for every text: its weight in a linear model is the bias.

    >>> encoder = SparseTfidfOptions(minimum_count=1).build(["red fish", "blue fish"], [], seed=0)
    >>> encoder.embed(encoder.prepare(["fish fish"], "query"), "query").to_dense().tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """

    name = "sparse-tfidf"
    similarity: Similarity = "dot"
    whole_label_graph = True
    row_gradients = False

    def __init__(self, learned: LearnedBags) -> None:
        self.bags = learned.bags
        self._learned = learned
        self.dimension = learned.bags.feature_count
        self.module: nn.Module = nn.Module()

    def label_parameters(self) -> list[nn.Parameter]:
        """None: nothing is trained."""
        return []

    def prepare(self, texts: Sequence[str], role: Role) -> Bags:
        """Count and weigh words."""
        return self._learned.transform(texts) if role == "query" else self.bags.transform(texts)

    def embed(self, features: Bags, role: Role) -> Tensor:
        """The TF-IDF vectors (N, D) as a CSR tensor."""
        return bags_tensor(features, self.dimension)

    def save(self, folder: Path) -> None:
        """Write vocabulary and weights; sentence-transformers has no sparse module of this kind, so it is xmc's own."""
        self.bags.save(folder / BAGS_NAME)
        (folder / DESCRIPTION_NAME).write_text(json.dumps({"encoder": self.name}), encoding="utf-8")

    def save_training(self, folder: Path) -> None:
        """The same: nothing else is learned."""
        self.save(folder)


def bags_tensor(bags: Bags, dimension: int) -> Tensor:
    """Bags as a CSR tensor (N, dimension) over the same memory.

    >>> import numpy as np
    >>> bags_tensor(Bags(np.array([0, 1]), np.array([1]), np.array([2.0], np.float32)), 3).to_dense().tolist()
    [[0.0, 2.0, 0.0]]
    """
    parts = (torch.from_numpy(bags.offsets), torch.from_numpy(bags.ids.astype("int64")), torch.from_numpy(bags.weights))
    return csr_tensor(*parts, (len(bags), dimension))
