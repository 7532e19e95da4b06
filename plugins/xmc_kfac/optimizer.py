"""K-FAC as a torch optimiser: natural-gradient steps for layers with factors, AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xmc_kfac.blocks import Block
from xmc_kfac.factors import averaged, damped_inverses
from xmc_kfac.layers import watch_layers

OTHERS = "others"


class KFac(torch.optim.Optimizer):
    """dW = (G + ...)^-1 gradient (A + ...)^-1, for gradients of a loss that is a mean over the samples of a batch.

    `damping` is added to the Fisher matrix, split between its factors; these are averaged over steps with `decay`,
    looked at every `factor_steps` steps and inverted every `inverse_steps`. `kl_clip` bounds
    lr² Σ ⟨dW, gradient⟩, about twice the change of the model in KL divergence (0 = no bound). `others_rate` is AdamW's
    for parameters that are in no linear, embedding or LSTM layer. A step whose gradient is not finite moves nothing and
    leaves the factors as they are.

    The Fisher matrix is the empirical one, of the gradients that the step itself is made of, unless `sampled`: then
    only gradients back-propagated within `sampling()`, those of targets drawn from the model, count.

    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = KFac(layer.parameters(), layer, lr=0.1)
    >>> layer(torch.ones(4, 2)).square().mean().backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Iterable[Any],
        module: nn.Module,
        *,
        lr: float,
        others_rate: float = 0.01,
        damping: float = 1e-3,
        decay: float = 0.95,
        factor_steps: int = 1,
        inverse_steps: int = 10,
        momentum: float = 0.9,
        kl_clip: float = 1e-3,
        weight_decay: float = 0.0,
        sampled: bool = False,
    ) -> None:
        self._damping, self._decay, self._momentum, self._kl_clip = damping, decay, momentum, kl_clip
        self._factor_steps, self._inverse_steps, self._weight_decay = factor_steps, inverse_steps, weight_decay
        self._sampled, self._sampling, self._steps = sampled, False, 0
        self.blocks = watch_layers(module, is_open=self._is_open)
        layers, others = _split([*params], self.blocks, others_rate=others_rate)
        self._rest = torch.optim.AdamW(others, weight_decay=weight_decay) if others else None
        super().__init__([*layers, *(self._rest.param_groups if self._rest else ())], {"lr": lr})
        self._share_rest()

    def _share_rest(self) -> None:
        """Let AdamW work on this optimiser's own groups and state, so that all is saved in one."""
        if self._rest:
            self._rest.param_groups = [group for group in self.param_groups if group.get(OTHERS)]
            self._rest.state = self.state

    def _is_open(self) -> bool:
        return self._steps % self._factor_steps == 0 and (self._sampling or not self._sampled)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Within, back-propagated gradients go to the factors alone: the loss of targets drawn from the model."""
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        kept = [parameter.grad for parameter in parameters]
        self.zero_grad(set_to_none=True)
        self._sampling = True
        try:
            yield
        finally:
            self._sampling = False
            for parameter, gradient in zip(parameters, kept, strict=True):
                parameter.grad = gradient

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Look at the factors where it is time, and move every parameter that has a gradient."""
        del closure
        gradients = {id(block): block.gradient() for block in self.blocks}
        if self._is_finite():
            for block in self.blocks:
                self._look(block)
            self._move(gradients)
            if self._rest:
                self._rest.step()
            self._steps += 1
        for block in self.blocks:
            block.forget()

    def _is_finite(self) -> bool:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        return bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))

    def _look(self, block: Block) -> None:
        """Average the factors with those of this step, and invert them where it is time."""
        state: dict[str, Any] = self.state[block.weight]
        state["step"] = torch.tensor(float(self._steps + 1))
        found = block.factors()
        if found is not None:
            for name, factor in zip(("inputs", "outputs"), found, strict=True):
                state[name] = averaged(state.get(name), factor, decay=self._decay)
        if "inputs" in state and (self._steps % self._inverse_steps == 0 or "inputs_inverse" not in state):
            inverses = damped_inverses(state["inputs"], state["outputs"], damping=self._damping)
            state["inputs_inverse"], state["outputs_inverse"] = inverses

    def _move(self, gradients: dict[int, Tensor | None]) -> None:
        groups = {id(p): group for group in self.param_groups for p in group["params"]}
        updates: list[tuple[Block, Tensor]] = []
        divergence = 0.0
        for block in self.blocks:
            gradient, state = gradients[id(block)], self.state[block.weight]
            if gradient is None or "inputs_inverse" not in state:
                continue
            update = block.natural(gradient, state["inputs_inverse"], state["outputs_inverse"])
            divergence += groups[id(block.weight)]["lr"] ** 2 * float((update * gradient).sum())
            updates.append((block, update))
        clipped = self._kl_clip and divergence > self._kl_clip
        scale = (self._kl_clip / divergence) ** 0.5 if clipped else 1.0
        for block, update in updates:
            step = self._with_momentum(block, update.mul_(scale))
            block.descend(step, groups[id(block.weight)]["lr"], weight_decay=self._weight_decay)

    def _with_momentum(self, block: Block, update: Tensor) -> Tensor:
        if not self._momentum:
            return update
        state = self.state[block.weight]
        state["momentum"] = state["momentum"].mul_(self._momentum).add_(update) if "momentum" in state else update
        return state["momentum"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, for AdamW as well."""
        super().load_state_dict(state_dict)
        self._share_rest()
        steps = [int(self.state[block.weight].get("step", 0)) for block in self.blocks]
        self._steps = max(steps, default=0)


def _split(
    params: list[Any], blocks: list[Block], *, others_rate: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Parameter groups of those in blocks, and groups of all others at `others_rate` unless [train] names theirs."""
    groups = params if params and isinstance(params[0], dict) else [{"params": params}]
    own = {id(parameter) for block in blocks for parameter in block.parameters()}
    layers: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for group in groups:
        parameters = [parameter for parameter in group["params"] if parameter.requires_grad]
        inside = [parameter for parameter in parameters if id(parameter) in own]
        outside = [parameter for parameter in parameters if id(parameter) not in own]
        if inside:
            layers.append({**group, "params": inside})
        if outside:
            rates = {} if group.get("own_rate") else {"lr": others_rate, "peak_lr": others_rate}
            others.append({**group, **rates, "params": outside, OTHERS: True})
    return layers, others
