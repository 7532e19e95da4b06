"""One side of the static encoder: a tokenizer and the table that its token vectors are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xmc.encode.bags import Bags, bag_embeddings
from xmc.encode.encoder import ROLES, Role
from xmc.encode.text_graph import MEAN_INPUTS, MeanOfTokens, TextGraph, plain_tokenizer
from xmc.encode.word_tokens import WordTokens


class Tower(nn.Module):
    """A tokenizer with its table: token vector = weighted sum of the feature rows that `expansion` lists for it.

    Without an expansion a token's vector is its own row. Shapes: `table_FD` (features, D).
    """

    def __init__(self, tokenizer: Any, expansion: Bags | None, table_FD: Tensor) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.expansion = expansion
        self.table_FD = nn.Parameter(table_FD.float())

    @cached_property
    def token_ids(self) -> WordTokens:
        """From texts to their token ids; it remembers the words that it has met."""
        return WordTokens(self.tokenizer)

    def forward(self, bags: Bags, *, dropout: float = 0.0, row_gradient: bool = False) -> Tensor:
        """Sum of weight x token vector over each bag, (N, D)."""
        if self.expansion is None:
            return bag_embeddings(bags, self.table_FD, dropout=dropout, row_gradient=row_gradient)
        if len(bags.ids) > len(self.expansion):
            vectors_VD = bag_embeddings(self.expansion, self.table_FD, row_gradient=row_gradient)
            return bag_embeddings(bags, vectors_VD, dropout=dropout)
        # few texts: only the tokens that occur are made, each once
        used_V = np.zeros(len(self.expansion), dtype=bool)
        used_V[bags.ids] = True
        tokens = np.flatnonzero(used_V)
        row_of_token_V = np.cumsum(used_V, dtype=np.int32) - 1
        vectors_UD = bag_embeddings(self.expansion.take(tokens), self.table_FD, row_gradient=row_gradient)
        return bag_embeddings(Bags(bags.offsets, row_of_token_V[bags.ids], bags.weights), vectors_UD, dropout=dropout)

    def save(self, folder: Path) -> None:
        """Write tokenizer, table and expansion."""
        from safetensors.torch import save_file

        folder.mkdir()
        self.tokenizer.save(str(folder / "tokenizer.json"))
        tensors = {"table": self.table_FD.detach()}
        if self.expansion is not None:
            for field in fields(self.expansion):
                tensors[f"expansion.{field.name}"] = torch.from_numpy(getattr(self.expansion, field.name))
        save_file(tensors, folder / "tower.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Tower:
        """The tower that `save` wrote."""
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        tensors = load_file(folder / "tower.safetensors")
        arrays = {key.partition(".")[2]: value.numpy() for key, value in tensors.items() if key != "table"}
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return cls(tokenizer, Bags(**arrays) if arrays else None, tensors["table"])

    def token_vectors(self) -> Tensor:
        """The vector of every token, (V, D), expansion folded in: all that is needed after training."""
        with torch.no_grad():
            if self.expansion is None:
                return self.table_FD.detach().clone()
            return bag_embeddings(self.expansion, self.table_FD)

    @classmethod
    def load_folded(cls, folder: Path) -> Tower:
        """The tower of a saved `StaticEmbedding`: a row for each token."""
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        weights = load_file(folder / "model.safetensors")
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), None, weights["embedding.weight"])


def tower_graphs(towers: Mapping[Role, Tower], *, normalise: bool) -> tuple[TextGraph, ...]:
    """The text graph of each tower, which may be that of both roles."""
    roles_of: dict[Tower, list[Role]] = {}
    for role in ROLES:
        roles_of.setdefault(towers[role], []).append(role)
    return tuple(
        TextGraph(
            MeanOfTokens(tower.token_vectors(), normalise=normalise),
            MEAN_INPUTS,
            plain_tokenizer(tower.tokenizer),
            dict.fromkeys(roles, ""),
        )
        for tower, roles in roles_of.items()
    )
