"""The tfidf encoder's tower as a sentence-transformers module, so that its folder opens there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor

from xmc.encode.bags import Bags, bag_embeddings
from xmc.encode.tfidf import BAGS_NAME, TABLE_NAME, save_tower
from xmc.encode.word_bags import WordBags

_InputModule: Any = StaticEmbedding.__mro__[1]  # its import path differs between major versions


class TfidfModule(_InputModule):
    """Texts -> TF-IDF weighted sum of word vectors."""

    save_in_root = False

    def __init__(self, bags: WordBags, table_FD: Tensor) -> None:
        super().__init__()
        self.bags = bags
        self.table = torch.nn.Parameter(table_FD)

    def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Bags as three tensors."""
        bags = self.bags.transform([(prompt or "") + text for text in inputs])
        names = ("offsets", "ids", "weights")
        return {name: torch.from_numpy(getattr(bags, name)) for name in names}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Add `sentence_embedding`."""
        bags = Bags(*(features[name].cpu().numpy() for name in ("offsets", "ids", "weights")))
        features["sentence_embedding"] = bag_embeddings(bags, self.table)
        return features

    def get_embedding_dimension(self) -> int:
        """Width of an embedding."""
        return int(self.table.shape[1])

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write vocabularies and table."""
        save_tower(Path(output_path), self.bags, self.table)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **_: Any) -> TfidfModule:
        """Read what `save` wrote, from a local folder."""
        from safetensors.torch import load_file

        folder = Path(model_name_or_path) / subfolder
        return cls(WordBags.load(folder / BAGS_NAME), load_file(folder / TABLE_NAME)["table"])
