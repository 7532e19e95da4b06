"""The text graphs of a sentence-transformers model: token ids and masks to pooled embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from xmc.encode.encoder import Role
from xmc.encode.text_graph import (
    ENCODING_ATTRIBUTES,
    MEAN_INPUTS,
    MeanOfTokens,
    TextGraph,
    plain_tokenizer,
    standalone_tokenizer,
)
from xmc.errors import ConfigError

ROUTES: dict[Role, str] = {"query": "query", "label": "document"}
LONGEST = 1 << 20  # tokens; transformers writes 10^30 for "no limit"


class ModuleChain(nn.Module):
    """sentence-transformers modules one after the other, called with tensors in place of a dictionary."""

    def __init__(self, modules: Sequence[nn.Module], inputs: Sequence[str], *, normalise: bool) -> None:
        super().__init__()
        self.chain = nn.ModuleList(modules)
        self.inputs = tuple(inputs)
        self.normalise = normalise

    def forward(self, *tensors: Tensor) -> Tensor:
        """Embeddings (N, D)."""
        features: Any = dict(zip(self.inputs, tensors, strict=True))
        for module in self.chain:
            features = module(features)
        embeddings_ND: Tensor = features["sentence_embedding"]
        return functional.normalize(embeddings_ND, dim=1) if self.normalise else embeddings_ND


class MeanFeatures(MeanOfTokens):
    """`MeanOfTokens` in a chain: adds `sentence_embedding` to the features."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        """The features with the mean."""
        return {**features, "sentence_embedding": super().forward(*(features[name] for name in MEAN_INPUTS))}


def model_graphs(model: Any, prompts: Mapping[Role, str], *, normalise: bool) -> tuple[TextGraph, ...]:
    """One graph, or one for each side where the model begins with a router.

    Raises: ConfigError when the model does not begin with a transformer or a table of token vectors whose tokenizer is
    one of the library tokenizers.
    """
    from sentence_transformers.sentence_transformer.modules import Router

    first, *others = model
    if not isinstance(first, Router):
        return (_graph([first, *others], prompts, normalise=normalise),)
    routes = first.sub_modules
    if missing := set(ROUTES.values()) - set(routes):
        raise ConfigError(f"the model's router has no route {sorted(missing)}, so that it cannot be exported.")
    return tuple(
        _graph([*routes[ROUTES[role]], *others], {role: prompt}, normalise=normalise)
        for role, prompt in prompts.items()
    )


def _graph(modules: list[Any], prompts: Mapping[Role, str], *, normalise: bool) -> TextGraph:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer

    first, *others = modules
    if isinstance(first, StaticEmbedding):
        mean = MeanFeatures(first.embedding.weight, normalise=False)
        chain = ModuleChain([mean, *others], MEAN_INPUTS, normalise=normalise)
        return TextGraph(chain, MEAN_INPUTS, plain_tokenizer(first.tokenizer), prompts)
    if not isinstance(first, Transformer):
        raise ConfigError(
            f"a model that begins with {type(first).__name__} cannot be exported.",
            hint="What can: models that begin with Transformer or StaticEmbedding.",
        )
    inputs = tuple(name for name in ENCODING_ATTRIBUTES if name in first.preprocess(["text"]))
    limit = first.max_seq_length
    try:
        tokenizer = standalone_tokenizer(first.tokenizer, longest=limit if limit and limit < LONGEST else None)
    except AttributeError as error:
        raise ConfigError(
            f"the model's tokenizer ({type(first.tokenizer).__name__}) is not one of the library tokenizers, and "
            "cannot be exported.",
            hint="Save the model with a fast tokenizer (one with a tokenizer.json).",
        ) from error
    return TextGraph(ModuleChain(modules, inputs, normalise=normalise), inputs, tokenizer, prompts)
