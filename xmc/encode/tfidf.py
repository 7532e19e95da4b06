"""The `tfidf` encoder: TF-IDF weighted sums of trained word vectors, for texts of many words.

A query is the sum of weight x row over its words, its opening words and the pairs of those; a label the same over the
words and word pairs of its text, from a table of its own. Un-normalised: the length of a query says how sure it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from xmc.encode.bags import Bags, bag_embeddings
from xmc.encode.description import read_description, save_modules
from xmc.encode.encoder import ROLES, Role, Similarity
from xmc.encode.learned_bags import LearnedBags
from xmc.encode.word_bags import BlockOptions, WordBags
from xmc.option_ranges import WIDEST, require_at_least, require_at_most, require_positive, require_share
from xmc.unit_rows import unit_rows

TABLE_NAME = "model.safetensors"
BAGS_NAME = "word_bags.json"


@dataclass(frozen=True)
class TfidfOptions:
    """Options of the tfidf encoder.

    `minimum_count`: a word or pair of the queries counts when at least so many queries have it.
    `opening`: the first so many words of a query have rows of their own, and so have their pairs (0 = none).
    `label_pairs`: pairs of neighbouring words of a label's text have rows too. `dropout`: share of features left out
    while training. `label_scale`: standard deviation of the label table at the start. `query_scale`: that of the query
    table; at 0 all scores start equal, where the Z-loss and the spherical softmax have no gradient and never start.
    """

    dimension: int = 384
    similarity: Similarity = "dot"
    minimum_count: int = 3
    opening: int = 40
    label_pairs: bool = True
    dropout: float = 0.0
    label_scale: float = 0.05
    query_scale: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "dimension", "minimum_count")
        require_at_most(WIDEST, self, "dimension")
        require_at_least(0, self, "opening", "query_scale")
        require_share(self, "dropout", whole=False)
        require_positive(self, "label_scale")

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> TfidfEncoder:
        """A fresh encoder whose vocabularies and weights come from the corpus."""
        generator = torch.Generator().manual_seed(seed)
        blocks = BlockOptions(opening=self.opening, minimum_count=self.minimum_count, constant=True)
        queries = LearnedBags.learn(query_texts, blocks)
        labels = LearnedBags.learn(label_texts, BlockOptions(pairs=self.label_pairs))
        labels_FD = torch.randn(labels.bags.feature_count, self.dimension, generator=generator) * self.label_scale
        queries_FD = torch.zeros(queries.bags.feature_count, self.dimension)
        if self.query_scale > 0:
            queries_FD.normal_(std=self.query_scale, generator=generator)
        tables: dict[Role, Tensor] = {"query": queries_FD, "label": labels_FD}
        return TfidfEncoder({"query": queries, "label": labels}, tables, self)

    def load(self, folder: Path) -> TfidfEncoder:
        """The encoder that `TfidfEncoder.save` wrote.

        Raises: ArtifactError when the folder holds another kind of encoder.
        """
        description = read_description(folder, TfidfEncoder.name)
        return self._open({role: folder / path for role, path in description["towers"].items()})

    def load_training(self, folder: Path) -> TfidfEncoder:
        """The encoder that `TfidfEncoder.save_training` wrote."""
        return self._open({role: folder / role for role in ROLES})

    def _open(self, folders: dict[Role, Path]) -> TfidfEncoder:
        from safetensors.torch import load_file

        bags = {role: LearnedBags(WordBags.load(folders[role] / BAGS_NAME)) for role in ROLES}
        tables = {role: load_file(folders[role] / TABLE_NAME)["table"] for role in ROLES}
        return TfidfEncoder(bags, tables, self)


class TfidfEncoder:
    """TF-IDF weighted sums of word vectors; see the module's docstring. Safe for several threads once trained."""

    name = "tfidf"
    whole_label_graph = True
    row_gradients = False

    def __init__(self, bags: dict[Role, LearnedBags], tables: dict[Role, Tensor], options: TfidfOptions) -> None:
        self.bags = {role: bags[role].bags for role in ROLES}
        self._learned = bags
        self.similarity: Similarity = options.similarity
        self.dimension = tables["query"].shape[1]
        self._dropout = options.dropout
        self.module: nn.Module = nn.ParameterDict({role: nn.Parameter(tables[role].float()) for role in ROLES})

    def label_parameters(self) -> list[nn.Parameter]:
        """The label table."""
        return [self._table("label")]

    def prepare(self, texts: Sequence[str], role: Role) -> Bags:
        """Count and weigh words."""
        return self._learned[role].transform(texts)

    def embed(self, features: Bags, role: Role) -> Tensor:
        """Embeddings (N, D)."""
        dropout = self._dropout if self.module.training and role == "query" else 0.0
        embeddings_ND = bag_embeddings(features, self._table(role), dropout=dropout, row_gradient=self.row_gradients)
        return unit_rows(embeddings_ND) if self.similarity == "cosine" else embeddings_ND

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder; its module is xmc's own, so opening it elsewhere needs xmc installed.

        `SentenceTransformer(folder, trust_remote_code=True)` is how sentence-transformers allows a module that is not
        one of its own.
        """
        from sentence_transformers.sentence_transformer.modules import Router

        from xmc.encode.tfidf_module import TfidfModule

        parts = {role: [TfidfModule(self.bags[role], self._table(role).detach())] for role in ROLES}
        router = Router.for_query_document(parts["query"], parts["label"])
        paths = {"query": "query_0_TfidfModule", "label": "document_0_TfidfModule"}
        description = {"encoder": self.name, "towers": paths}
        save_modules(folder, [router], similarity=self.similarity, description=description)

    def save_training(self, folder: Path) -> None:
        """Write each tower."""
        for role in ROLES:
            (folder / role).mkdir()
            save_tower(folder / role, self.bags[role], self._table(role))

    def _table(self, role: Role) -> nn.Parameter:
        return self.module[role]  # type: ignore[index]


def save_tower(folder: Path, bags: WordBags, table_FD: Tensor) -> None:
    """Write the table and the vocabularies of one side into a folder."""
    from safetensors.torch import save_file

    save_file({"table": table_FD.detach().contiguous()}, folder / TABLE_NAME)
    bags.save(folder / BAGS_NAME)
