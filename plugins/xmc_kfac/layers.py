"""Hooks on layers that tell their blocks what went in and what gradient came back, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from xmc_kfac.blocks import Block, TableBlock
from xmc_kfac.recurrent import lstm_blocks, watch_lstm


def watch_layers(module: nn.Module, *, is_open: Callable[[], bool]) -> list[Block]:
    """The blocks of all linear, embedding and LSTM layers whose weights learn.

    A layer's rows count when it runs with gradient while `is_open()`, and when that gradient arrives: a pass without
    one, such as that which makes embeddings to be cached, leaves no trace. A weight that two layers share is one block.
    """
    blocks: list[Block] = []
    seen: set[int] = set()
    for layer in module.modules():
        weights = [weight for weight in layer.parameters(recurse=False) if weight.requires_grad]
        if not weights or any(id(weight) in seen for weight in weights):
            continue
        found: list[Block] = []
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad:
            found = [Block(cast("nn.Parameter", layer.weight), cast("nn.Parameter | None", layer.bias))]
            _watch(layer, found[0], is_open)
        elif isinstance(layer, nn.Embedding):
            found = [TableBlock(cast("nn.Parameter", layer.weight))]
            _watch(layer, found[0], is_open)
        elif isinstance(layer, nn.LSTM) and layer.proj_size == 0:
            found = lstm_blocks(layer)
            watch_lstm(layer, found, is_open=is_open)
        seen.update(id(weight) for weight in weights)
        blocks.extend(found)
    return blocks


def _watch(layer: nn.Module, block: Block, is_open: Callable[[], bool]) -> None:
    def seen(_: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
        if not (is_open() and output.requires_grad):
            return
        inputs: Tensor = arguments[0].detach()
        rows = inputs.flatten() if isinstance(block, TableBlock) else inputs.reshape(-1, inputs.shape[-1])
        samples = len(inputs) if output.dim() > 1 else 1

        def returned(gradient: Tensor) -> None:
            block.add(rows, gradient.reshape(-1, gradient.shape[-1]), samples=samples)

        output.register_hook(returned)

    layer.register_forward_hook(seen)
