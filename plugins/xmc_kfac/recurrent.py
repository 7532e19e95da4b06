"""The blocks of an LSTM: its two products, input to gates and state to gates, are linear layers shared over time.

torch's LSTM is one operation that shows neither its states within a sequence nor the gradients at its gates, so both
are made again, step by step, in the steps that look at factors. Shapes: N sequences, T time steps, H state, I input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from xmc_kfac.blocks import Block


def lstm_blocks(lstm: nn.LSTM) -> list[Block]:
    """Two blocks for each layer and direction, in that order.

    A bias stands twice in torch's LSTM, before both products; the one of the input learns, the other stays: moved as
    well it would move the gates by a second step that no block knows of.
    """
    blocks = []
    for suffix in suffixes(lstm):
        learns, stays = (getattr(lstm, f"bias_{kind}{suffix}") if lstm.bias else None for kind in ("ih", "hh"))
        blocks += [
            Block(getattr(lstm, f"weight_ih{suffix}"), learns),
            Block(getattr(lstm, f"weight_hh{suffix}"), still=stays),
        ]
    return blocks


def suffixes(lstm: nn.LSTM) -> list[str]:
    """What torch appends to the weights' names, layer by layer, forwards before backwards."""
    directions = ("", "_reverse") if lstm.bidirectional else ("",)
    return [f"_l{layer}{direction}" for layer in range(lstm.num_layers) for direction in directions]


def watch_lstm(lstm: nn.LSTM, blocks: list[Block], *, is_open: Callable[[], bool]) -> None:
    """Tell the blocks about each pass with gradient, from the gradient of its outputs (not of its last states)."""

    def seen(_: nn.Module, arguments: tuple[Any, ...], result: tuple[Any, Any]) -> None:
        inputs, output = arguments[0], result[0]
        packed = isinstance(output, PackedSequence)
        values: Tensor = output.data if packed else output
        if not (is_open() and values.requires_grad):
            return
        starts = arguments[1] if len(arguments) > 1 else None

        def returned(gradient: Tensor) -> None:
            gradients = output._replace(data=gradient) if packed else gradient
            _add_pass(lstm, blocks, inputs, gradients, starts)

        values.register_hook(returned)

    lstm.register_forward_hook(seen)


def _add_pass(lstm: nn.LSTM, blocks: list[Block], inputs: Any, gradients: Any, starts: Any) -> None:
    inputs_NTI, lengths_N = _padded(lstm, inputs)
    gradients_NTH, _ = _padded(lstm, gradients)
    samples, steps = inputs_NTI.shape[:2]
    valid_NT = torch.arange(steps, device=inputs_NTI.device) < lengths_N[:, None]
    replay = Replay(lstm, inputs_NTI.detach(), lengths_N, starts)
    for number, (below_NTI, states_NTH, gates_NTG) in enumerate(replay.backward(gradients_NTH.detach())):
        gates_RG = gates_NTG[valid_NT]
        blocks[2 * number].add(below_NTI[valid_NT], gates_RG, samples=samples)
        blocks[2 * number + 1].add(states_NTH[valid_NT], gates_RG, samples=samples)


def _padded(lstm: nn.LSTM, values: Any) -> tuple[Tensor, Tensor]:
    """Sequences (N, T, ...) and their lengths (N,)."""
    if isinstance(values, PackedSequence):
        padded, lengths_N = pad_packed_sequence(values, batch_first=True)
        return padded, lengths_N.to(padded.device)
    if values.dim() == 2:  # one sequence alone
        values = values[None]
    elif not lstm.batch_first:
        values = values.transpose(0, 1)
    return values, torch.full((len(values),), values.shape[1], device=values.device)


class Replay:
    """An LSTM's forward pass made again in the open, without dropout between its layers."""

    def __init__(self, lstm: nn.LSTM, inputs_NTI: Tensor, lengths_N: Tensor, starts: Any = None) -> None:
        self._lstm, self._starts = lstm, starts
        time_T = torch.arange(inputs_NTI.shape[1], device=inputs_NTI.device)
        last_N1 = lengths_N[:, None] - 1
        self._backwards_NT = torch.where(time_T <= last_N1, last_N1 - time_T, time_T)
        self._passes: list[tuple[Tensor, Tensor, Tensor]] = []
        names, directions = suffixes(lstm), 2 if lstm.bidirectional else 1
        with torch.enable_grad():
            for first in range(0, len(names), directions):
                outputs = [self._direction(inputs_NTI, number) for number in range(first, first + directions)]
                inputs_NTI = torch.cat(outputs, dim=2)
        self.outputs_NTH = inputs_NTI

    def backward(self, gradients_NTH: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each layer and direction: its inputs, the states before each step, and the gradient at the gates."""
        shifts = [shift for _, _, shift in self._passes]
        gates = torch.autograd.grad(self.outputs_NTH, shifts, gradients_NTH)
        return [(below.detach(), states, gate) for (below, states, _), gate in zip(self._passes, gates, strict=True)]

    def _direction(self, inputs_NTI: Tensor, number: int) -> Tensor:
        lstm, suffix = self._lstm, suffixes(self._lstm)[number]
        reverse = suffix.endswith("_reverse")
        below_NTI = self._turned(inputs_NTI) if reverse else inputs_NTI
        weight_ih, weight_hh = (getattr(lstm, f"weight_{kind}{suffix}").detach() for kind in ("ih", "hh"))
        gates_NTG = below_NTI.to(weight_ih.dtype) @ weight_ih.T
        if lstm.bias:
            gates_NTG = gates_NTG + (getattr(lstm, f"bias_ih{suffix}") + getattr(lstm, f"bias_hh{suffix}")).detach()
        shift_NTG = torch.zeros_like(gates_NTG).requires_grad_()  # whose gradient is that of the gates
        state, cell = self._start(gates_NTG, number)
        before, after = [], []
        for time in range(gates_NTG.shape[1]):
            before.append(state.detach())
            gates = gates_NTG[:, time] + shift_NTG[:, time] + state @ weight_hh.T
            enter, keep, candidate, leave = gates.chunk(4, dim=1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            state = leave.sigmoid() * cell.tanh()
            after.append(state)
        self._passes.append((below_NTI, torch.stack(before, dim=1), shift_NTG))
        outputs_NTH = torch.stack(after, dim=1)
        return self._turned(outputs_NTH) if reverse else outputs_NTH

    def _start(self, gates_NTG: Tensor, number: int) -> tuple[Tensor, Tensor]:
        if self._starts is None:
            zeros = gates_NTG.new_zeros(len(gates_NTG), self._lstm.hidden_size)
            return zeros, zeros
        state, cell = (start[number].detach().reshape(len(gates_NTG), -1) for start in self._starts)
        return state, cell

    def _turned(self, values_NTH: Tensor) -> Tensor:
        """Each sequence back to front, its padding left at the end."""
        return values_NTH.gather(1, self._backwards_NT[..., None].expand_as(values_NTH))
