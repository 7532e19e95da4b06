"""Blocks: the parameters that share one Fisher block, the sums their factors are made of, and their step.

Shapes: R rows (a sample, or each time step of it), I inputs, O outputs, V rows of a table, D its width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block:
    """A matrix y = W a, or y = W a + b as one matrix with a constant input.

    The gradients of all rows that one step back-propagates are added up, in whatever chunks they come. Of a layer that
    a sample passes several times (an LSTM over time) the Fisher block is that of independent passes: T times A ⊗ G with
    means over all rows, and the T is part of the second factor. `still` is a parameter of the layer that no step moves.
    """

    def __init__(
        self, weight: nn.Parameter, bias: nn.Parameter | None = None, *, still: nn.Parameter | None = None
    ) -> None:
        self.weight, self.bias, self.still = weight, bias, still
        self.forget()

    def parameters(self) -> list[nn.Parameter]:
        """What the block's step moves, and what it leaves still."""
        return [parameter for parameter in (self.weight, self.bias, self.still) if parameter is not None]

    def forget(self) -> None:
        """Begin new sums."""
        self._inputs: Tensor | None = None
        self._outputs: Tensor | None = None
        self._rows = self._samples = 0

    def add(self, inputs: Tensor, gradients_RO: Tensor, *, samples: int) -> None:
        """Add a chunk: what the layer saw, and the gradient of the batch's mean loss at its output."""
        self._add(self._second_moment(inputs), gradients_RO, rows=len(gradients_RO), samples=samples)

    def _add(self, inputs: Tensor, gradients_RO: Tensor, *, rows: int, samples: int) -> None:
        gradients_RO = gradients_RO.to(self.weight.dtype)
        outputs = gradients_RO.T @ gradients_RO
        self._inputs = inputs if self._inputs is None else self._inputs + inputs
        self._outputs = outputs if self._outputs is None else self._outputs + outputs
        self._rows += rows
        self._samples += samples

    def _second_moment(self, inputs_RI: Tensor) -> Tensor:
        inputs_RI = inputs_RI.to(self.weight.dtype)
        if self.bias is not None:
            inputs_RI = torch.cat([inputs_RI, inputs_RI.new_ones(len(inputs_RI), 1)], dim=1)
        return inputs_RI.T @ inputs_RI

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """A and G of the rows since `forget`; None without any, or when one is not finite.

        A gradient of the mean over N samples is 1 / N of a sample's own, so G = N² Σ g gᵀ / N.
        """
        if self._inputs is None or self._outputs is None or not self._rows:
            return None
        found = self._inputs / self._rows, self._outputs * self._samples
        return found if all(bool(torch.isfinite(factor).all()) for factor in found) else None

    def gradient(self) -> Tensor | None:
        """Of the whole matrix, (O, I) or with the bias as its last column (O, I + 1)."""
        if self.weight.grad is None:
            return None
        if self.bias is None or self.bias.grad is None:
            return self.weight.grad
        return torch.cat([self.weight.grad, self.bias.grad[:, None]], dim=1)

    def natural(self, gradient: Tensor, inputs_inverse: Tensor, outputs_inverse: Tensor) -> Tensor:
        """G^-1 gradient A^-1."""
        return outputs_inverse @ gradient @ inputs_inverse

    def descend(self, update: Tensor, rate: float, *, weight_decay: float) -> None:
        """Step against `update`; the weights shrink first, the bias does not."""
        if weight_decay:
            self.weight.mul_(1 - rate * weight_decay)
        width = self.weight.shape[1]
        self.weight.sub_(update[:, :width], alpha=rate)
        if self.bias is not None:
            self.bias.sub_(update[:, width], alpha=rate)


class TableBlock(Block):
    """A table whose rows are looked up: its input is a unit vector, so A is the diagonal of token frequencies, (V,)."""

    def add(self, inputs: Tensor, gradients_RO: Tensor, *, samples: int) -> None:
        """Add a chunk of looked-up row numbers; one that the loss does not depend on (padding) does not count."""
        used = gradients_RO.abs().sum(dim=1) > 0  # NaN is not above 0 either, so it is asked for apart
        used |= ~torch.isfinite(gradients_RO).all(dim=1)
        counts_V = torch.bincount(inputs[used], minlength=len(self.weight)).to(self.weight.dtype)
        self._add(counts_V, gradients_RO[used], rows=int(used.sum()), samples=samples)

    def gradient(self) -> Tensor | None:
        """Of the table, (V, D), dense."""
        gradient = self.weight.grad
        return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient

    def natural(self, gradient: Tensor, inputs_inverse: Tensor, outputs_inverse: Tensor) -> Tensor:
        """A^-1 gradient G^-1, the table being the transpose of a layer's matrix."""
        return (inputs_inverse[:, None] * gradient) @ outputs_inverse
