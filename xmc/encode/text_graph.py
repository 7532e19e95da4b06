"""What an encoder computes once a text is tokenised, as tensor operations alone, so that other runtimes can do it.

Shapes: N texts, T tokens, V tokens known, D width of an embedding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional

from xmc.encode.encoder import Role

# input of a graph -> attribute of a `tokenizers.Encoding`
ENCODING_ATTRIBUTES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
MEAN_INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class TextGraph:
    """`module` maps int64 tensors (N, T), in the order of `inputs`, to the embeddings (N, D) that the encoder gives.

    `inputs` are keys of `ENCODING_ATTRIBUTES`. `tokenizer` (a `tokenizers.Tokenizer`) pads, cuts and adds special
    tokens by itself. `prompts`: for each role that the graph embeds, what is put before a text.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    tokenizer: Any
    prompts: Mapping[Role, str]


@runtime_checkable
class GraphEncoder(Protocol):
    """An encoder that can be exported."""

    def text_graphs(self) -> tuple[TextGraph, ...]:
        """One graph for queries and labels, or one for each; made of the encoder's own weights, not of copies.

        Raises: ConfigError naming what in the encoder is no tensor operation on tokens.
        """


class MeanOfTokens(nn.Module):
    """The mean of the vectors of a text's tokens, normalised if wanted; zero for a text without any."""

    def __init__(self, table_VD: Tensor, *, normalise: bool) -> None:
        super().__init__()
        self.table_VD = nn.Parameter(table_VD.float(), requires_grad=False)
        self.normalise = normalise

    def forward(self, input_ids_NT: Tensor, attention_mask_NT: Tensor) -> Tensor:
        """Embeddings (N, D).

        >>> import torch
        >>> mean = MeanOfTokens(torch.tensor([[9.0], [2.0], [4.0]]), normalise=False)
        >>> mean(torch.tensor([[1, 2], [2, 0], [0, 0]]), torch.tensor([[1, 1], [1, 0], [0, 0]])).tolist()
        [[3.0], [4.0], [0.0]]
        """
        mask_NT = attention_mask_NT.to(self.table_VD.dtype)
        weights_NT = mask_NT / mask_NT.sum(dim=1, keepdim=True).clamp(min=1)
        # a product adds in blocks, so that a long text is rounded less than by adding token by token
        means_ND = (weights_NT.unsqueeze(1) @ functional.embedding(input_ids_NT, self.table_VD)).squeeze(1)
        return functional.normalize(means_ND, dim=1) if self.normalise else means_ND


def plain_tokenizer(tokenizer: Any) -> Any:
    """A copy of a `tokenizers.Tokenizer` that adds no special tokens, cuts nothing, and pads to the longest text."""
    from tokenizers import Tokenizer

    body = json.loads(tokenizer.to_str())
    copy = Tokenizer.from_str(json.dumps({**body, "post_processor": None, "truncation": None}))
    copy.enable_padding()
    return copy


def standalone_tokenizer(tokenizer: Any, *, longest: int | None) -> Any:
    """A copy of the `tokenizers.Tokenizer` inside one of transformers, which pads and cuts at `longest` by itself.

    Raises: AttributeError when there is none inside.
    """
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    if longest:
        copy.enable_truncation(longest, direction=tokenizer.truncation_side)
    copy.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    return cast("Any", copy)
