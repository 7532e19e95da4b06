"""Any sentence-transformers folder as an encoder: a local path, or a hub name where the machine can reach the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xmc.encode.encoder import IntArray, Role, Similarity
from xmc.encode.fast_tokens import Prepare, fast_tokens
from xmc.encode.text_graph import TextGraph
from xmc.encode.token_limit import cut_texts_at
from xmc.errors import ConfigError
from xmc.home import home_expanded

FILE_NAME = "modules.json"
INFERENCE_BATCH = {"cpu": 32, "cuda": 512}  # a GPU has its work started faster in large ones


@dataclass(frozen=True)
class SentenceTransformerOptions:
    """Options of the `sentence-transformers` encoder.

    `model`: a folder (or hub name). `similarity` normalises (`cosine`) or not (`dot`); empty asks the model itself.
    `max_tokens`: texts are cut there (0 = the model's own limit). `query_prompt`, `label_prompt`: put before each text.
    """

    model: str = ""
    similarity: Similarity | str = ""
    max_tokens: int = 0
    query_prompt: str = ""
    label_prompt: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.similarity not in ("", "dot", "cosine"):
            raise ValueError(f"similarity must be 'dot', 'cosine' or empty, got {self.similarity!r}")
        if self.max_tokens < 0:
            raise ValueError(f"max_tokens must be >= 0, got {self.max_tokens}")

    def build(self, query_texts: Sequence[str], label_texts: Sequence[str], *, seed: int) -> SentenceTransformerEncoder:
        """The pretrained model, to be trained further; corpus and seed do not matter."""
        del query_texts, label_texts, seed
        if not self.model:
            raise ConfigError(
                "[encoder] model is empty.", hint="Set encoder.model=PATH (a sentence-transformers folder)."
            )
        return self._open(self.model)

    def load(self, folder: Path) -> SentenceTransformerEncoder:
        """The encoder that `SentenceTransformerEncoder.save` wrote."""
        return self._open(str(folder))

    def load_training(self, folder: Path) -> SentenceTransformerEncoder:
        """The encoder that `SentenceTransformerEncoder.save_training` wrote."""
        return self._open(str(folder))

    def _open(self, model: str) -> SentenceTransformerEncoder:
        from sentence_transformers import SentenceTransformer

        is_local, path = names_a_folder(model), home_expanded(model)
        if is_local and not (path / FILE_NAME).is_file():
            lacks = f"it has no {FILE_NAME}" if path.is_dir() else f"there is no folder {path.absolute()}"
            raise ConfigError(
                f"[encoder] model: {model} is not a sentence-transformers folder ({lacks}).",
                hint="Give the folder that SentenceTransformer.save_pretrained wrote, or a name of the hub with its "
                "owner, such as sentence-transformers/all-MiniLM-L6-v2.",
            )
        try:
            loaded = SentenceTransformer(str(path) if is_local else model, device="cpu", local_files_only=is_local)
        except Exception as error:  # whatever reads the folder's many files may raise anything
            reason = (str(error).splitlines() or [""])[0]
            raise ConfigError(
                f"[encoder] model: cannot open '{model}': {type(error).__name__}: {reason}",
                hint="Give a local folder, or a hub name that this machine can reach.",
            ) from error
        if self.max_tokens:
            cut_texts_at(loaded, self.max_tokens, name=model)
        return SentenceTransformerEncoder(loaded, self)


def names_a_folder(model: str) -> bool:
    """Whether a name is that of a folder, if perhaps a mistyped one; the hub is asked for `owner/name` only.

    >>> names_a_folder("minilm"), names_a_folder("my/models/minilm"), names_a_folder("intfloat/e5-small-v2")
    (True, True, False)
    """
    return model.startswith((".", "/", "~")) or model.count("/") != 1 or Path(model).parent.is_dir()


class SentenceTransformerEncoder:
    """A sentence-transformers model with xmc's encoder interface."""

    name = "sentence-transformers"
    whole_label_graph = False
    row_gradients = False

    def __init__(self, model: Any, options: SentenceTransformerOptions) -> None:
        self.model = model
        self.module: nn.Module = model
        self.similarity = cast("Similarity", options.similarity or _own_similarity(model))
        self.dimension = int(model.get_embedding_dimension())
        self._prompts: dict[Role, str] = {"query": options.query_prompt, "label": options.label_prompt}

    def label_parameters(self) -> list[nn.Parameter]:
        """None: queries and labels share the model."""
        return []

    def prepare(self, texts: Sequence[str], role: Role) -> PromptedTexts:
        """Keep the texts; they are tokenised batch by batch, since padded tokens of a corpus would not fit."""
        prompt = self._prompts[role]
        return PromptedTexts([prompt + text for text in texts])

    def embed(self, features: PromptedTexts, role: Role) -> Tensor:
        """Embeddings (N, D); when nothing is learned, in small batches of texts of similar length.

        Thousands of texts at once would need gigabytes for the layers in between. What is learned must see its batch
        as a whole, for its random numbers (dropout) are drawn again for the gradient.
        """
        batch = INFERENCE_BATCH[self.model.device.type]
        if self.module.training or torch.is_grad_enabled() or len(features) <= batch:
            return self._embed(features, role)
        by_length = np.argsort([len(text) for text in features], kind="stable")
        parts = [by_length[start : start + batch] for start in range(0, len(by_length), batch)]
        sorted_ND = torch.cat([self._embed(features.take(rows), role) for rows in parts])
        return sorted_ND[torch.from_numpy(np.argsort(by_length)).to(sorted_ND.device)]

    def _embed(self, features: PromptedTexts, role: Role) -> Tensor:
        task = "query" if role == "query" else "document"
        prepare = self._fast_tokens
        inputs = prepare(features.texts) if prepare else self.model.preprocess(features.texts, task=task)
        inputs = {key: value.to(self.model.device) if hasattr(value, "to") else value for key, value in inputs.items()}
        embeddings_ND: Tensor = self.model(inputs, task=task)["sentence_embedding"]
        return functional.normalize(embeddings_ND, dim=1) if self.similarity == "cosine" else embeddings_ND

    @cached_property
    def _fast_tokens(self) -> Prepare | None:
        return fast_tokens(self.model)

    def text_graphs(self) -> tuple[TextGraph, ...]:
        """See `xmc.encode.text_graph.GraphEncoder`."""
        from xmc.encode.model_graphs import model_graphs

        return model_graphs(self.model, self._prompts, normalise=self.similarity == "cosine")

    def save(self, folder: Path) -> None:
        """Write the folder that `SentenceTransformer(folder)` opens."""
        from sentence_transformers.sentence_transformer.modules import Normalize

        if self.similarity == "cosine" and not any(isinstance(module, Normalize) for module in self.model):
            self.model.append(Normalize())
        self.model.similarity_fn_name = self.similarity
        # for `encode_query` and `encode_document`; xmc itself puts its prompts before the texts
        self.model.prompts = {"query": self._prompts["query"], "document": self._prompts["label"]}
        self.model.default_prompt_name = None
        self.save_training(folder)

    def save_training(self, folder: Path) -> None:
        """The weights are all there is."""
        self.model.save_pretrained(str(folder), create_model_card=False)


class PromptedTexts(tuple[str, ...]):
    """Texts with their prompt in front."""

    __slots__ = ()

    @property
    def texts(self) -> list[str]:
        """As a list."""
        return list(self)

    def take(self, rows: IntArray) -> PromptedTexts:
        """The given texts, in the given order."""
        return PromptedTexts(self[row] for row in rows)


def _own_similarity(model: Any) -> str:
    name = str(model.similarity_fn_name or "cosine")
    return "dot" if name == "dot" else "cosine"
