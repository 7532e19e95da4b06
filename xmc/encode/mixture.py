"""A mixture of linear experts on top of an embedding: each text is mapped by the few experts that its gate keeps.

y = sum_{i in top K of W h + b} softmax over the kept gates_i * M_i h, so a text costs K products however many experts
there are. Nguyen, Akbarian, Yan, Ho 2023, Statistical Perspective of Top-K Sparse Softmax Gating Mixture of Experts.
Shapes: N texts, D width, E experts, K kept.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from xmc.encode.text_share import text_share
from xmc.option_ranges import require_at_least, require_at_most, require_positive

OPTIONS_NAME = "mixture.json"
WEIGHTS_NAME = "model.safetensors"
START_NOISE = 0.1  # of an expert beside the identity, as a share of a vector's length: experts must differ to part


@dataclass(frozen=True)
class MixtureOptions:
    """How many experts there are and how they share the texts; `MixtureOfExperts` says what each does.

    `experts`: linear maps there are. `kept`: those of them that a text goes through; with one its gate is always 1, so
    that who goes where is never learned. `balance`: weight of the term that asks for equal shares of the texts.
    `capacity`: in training, an expert takes at most so many times its equal share of a batch (0 = all).
    `rate`: the mixture learns at so many times the rate of the encoder below, whose rows or layers want other steps.
    """

    experts: int = 8
    kept: int = 2
    balance: float = 0.01
    capacity: float = 0.0
    rate: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.experts < 1 or not 1 <= self.kept <= self.experts:
            raise ValueError(
                f"experts >= 1 and kept in [1, experts] are needed, got experts={self.experts} and kept={self.kept}"
            )
        require_at_most(10_000, self, "experts")
        require_at_least(0, self, "balance")
        if self.capacity and not 1 <= self.capacity < math.inf:
            raise ValueError(f"capacity must be 0 (no limit) or a finite number >= 1, got {self.capacity}")
        require_positive(self, "rate")

    @property
    def mixture(self) -> MixtureOptions:
        """These options alone, of an encoder's that has more."""
        return MixtureOptions(**{field.name: getattr(self, field.name) for field in fields(MixtureOptions)})


class MixtureOfExperts(nn.Module):
    """Top-K gated linear experts, (N, D) -> (N, D); starts near the identity.

    The weights are kept divided by `rate`, W = rate * `gate` and M_i = 1 + rate * `moves`_i, so that an optimiser whose
    steps do not depend on a gradient's length moves W and M_i by `rate` times its own step. As the gates sum to 1,
    y = h + rate * sum_i gate_i * moves_i h.

    A gate's gradient reaches the kept experts alone. In training the gradient of `balance` times `balance_loss` of the
    batch is added wherever the result is used, once for the queries and once for the labels of a step: of a batch that
    passes in parts (chunks, processes) each counts by its share. The value itself is in no loss that is reported. What
    an expert has no capacity for goes past it unchanged. Outside of training a text's vector does not depend on the
    texts beside it.

    >>> layer = MixtureOfExperts(3, MixtureOptions(experts=4, kept=2), seed=0)
    >>> layer(torch.eye(3)).shape
    torch.Size([3, 3])
    >>> layer.shares(torch.eye(3)).sum().item()
    1.0
    """

    def __init__(self, dimension: int, options: MixtureOptions, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.options = options
        self.gate = nn.Linear(dimension, options.experts)
        noise = dimension**-0.5 / options.rate
        with torch.no_grad():
            self.gate.weight.normal_(std=noise, generator=generator)
            self.gate.bias.zero_()
        moves_EDD = torch.randn(options.experts, dimension, dimension, generator=generator)
        self.moves_EDD = nn.Parameter(moves_EDD * (START_NOISE * noise))

    def forward(self, inputs_ND: Tensor) -> Tensor:
        """The mixture's answer for each row."""
        options = self.options
        logits_NE = options.rate * self.gate(inputs_ND)
        gates_NK, chosen_NK = keep_top(logits_NE, options.kept)
        if torch.jit.is_tracing():  # type: ignore[attr-defined]  # a trace has no loop whose lengths the data decide
            return inputs_ND + options.rate * all_experts(inputs_ND, self.moves_EDD, gates_NK, chosen_NK)
        if self.training and options.capacity:
            gates_NK = gates_NK * within_capacity(gates_NK, chosen_NK, options)
        outputs_ND = inputs_ND + options.rate * kept_experts(inputs_ND, self.moves_EDD, gates_NK, chosen_NK)
        if self.training and options.balance and outputs_ND.requires_grad:
            value = options.balance * text_share() * balance_loss(logits_NE, chosen_NK)
            outputs_ND = cast("Tensor", _WithGradientOf.apply(outputs_ND, value))
        return outputs_ND

    @torch.no_grad()
    def experts(self) -> Tensor:
        """The linear maps M_i, (E, D, D)."""
        return torch.eye(self.moves_EDD.shape[-1]).to(self.moves_EDD) + self.options.rate * self.moves_EDD

    @torch.no_grad()
    def shares(self, inputs_ND: Tensor) -> Tensor:
        """The share of the kept places that each expert has among these rows, (E,)."""
        chosen_NK = self.gate(inputs_ND).topk(self.options.kept, dim=1).indices
        return _shares(chosen_NK, self.options.experts)

    def save(self, folder: Path) -> None:
        """Write options and weights."""
        from safetensors.torch import save_file

        folder.mkdir(exist_ok=True)
        (folder / OPTIONS_NAME).write_text(json.dumps(asdict(self.options)), encoding="utf-8")
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}, folder / WEIGHTS_NAME
        )

    @classmethod
    def load(cls, folder: Path) -> MixtureOfExperts:
        """The layer that `save` wrote."""
        from safetensors.torch import load_file

        weights = load_file(folder / WEIGHTS_NAME)
        options = MixtureOptions(**json.loads((folder / OPTIONS_NAME).read_text(encoding="utf-8")))
        layer = cls(weights["moves_EDD"].shape[-1], options)
        layer.load_state_dict(weights)
        return layer


def keep_top(logits_NE: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """The gates of the `kept` largest logits, softmax among themselves, and their experts: (N, K) each.

    >>> gates, chosen = keep_top(torch.tensor([[0.0, 5.0, 5.0]]), 2)
    >>> gates.tolist(), sorted(chosen[0].tolist())
    ([[0.5, 0.5]], [1, 2])
    """
    kept_NK, chosen_NK = logits_NE.topk(kept, dim=1)
    return kept_NK.softmax(1), chosen_NK


def kept_experts(inputs_ND: Tensor, experts_EDD: Tensor, gates_NK: Tensor, chosen_NK: Tensor) -> Tensor:
    """sum_k gates[n, k] * experts[chosen[n, k]] @ inputs[n], each expert over the rows that chose it; (N, D).

    Naive: torch.einsum("nk,nkij,nj->ni", gates_NK, experts_EDD[chosen_NK], inputs_ND).

    >>> kept_experts(torch.ones(2, 1), torch.tensor([[[3.0]], [[5.0]]]), torch.ones(2, 1), torch.tensor([[1], [0]]))
    tensor([[5.],
            [3.]])
    """
    kept = chosen_NK.shape[1]
    by_expert = chosen_NK.flatten().argsort(stable=True)
    counts = torch.bincount(chosen_NK.flatten(), minlength=len(experts_EDD)).tolist()
    outputs_ND = torch.zeros_like(inputs_ND)
    for expert, places in enumerate(by_expert.split(counts)):
        rows = places // kept
        mapped = inputs_ND.index_select(0, rows) @ experts_EDD[expert].T
        # a row is at most once among those of an expert, so the order of additions is that of the experts
        outputs_ND.index_add_(0, rows, (mapped * gates_NK.flatten()[places, None]).to(outputs_ND.dtype))
    return outputs_ND


def all_experts(inputs_ND: Tensor, experts_EDD: Tensor, gates_NK: Tensor, chosen_NK: Tensor) -> Tensor:
    """The same as `kept_experts` by way of every expert for every row."""
    gates_NE = inputs_ND.new_zeros(inputs_ND.shape[0], len(experts_EDD)).scatter(1, chosen_NK, gates_NK)
    mapped_END = inputs_ND @ experts_EDD.transpose(1, 2)
    return (gates_NE.T.unsqueeze(-1) * mapped_END).sum(0)


def within_capacity(gates_NK: Tensor, chosen_NK: Tensor, options: MixtureOptions) -> Tensor:
    """True for the places that an expert takes: those of its largest gates, up to its capacity; (N, K)."""
    limit = -(-int(options.capacity * chosen_NK.numel()) // options.experts)
    by_gate = gates_NK.detach().flatten().argsort(descending=True, stable=True)
    by_expert = by_gate[chosen_NK.flatten()[by_gate].argsort(stable=True)]
    counts_E = torch.bincount(chosen_NK.flatten(), minlength=options.experts)
    firsts_E = counts_E.cumsum(0) - counts_E
    place = torch.arange(len(by_expert), device=by_expert.device) - firsts_E.repeat_interleave(counts_E)
    taken = torch.empty_like(place, dtype=torch.bool)
    taken[by_expert] = place < limit
    return taken.view_as(chosen_NK)


def balance_loss(logits_NE: Tensor, chosen_NK: Tensor) -> Tensor:
    """E * sum_i share_i * mean gate_i, gates by softmax over all experts; 1 when all experts are used alike.

    Fedus, Zoph, Shazeer 2022, Switch Transformers, equation 4; the shares are constants to the gradient.
    """
    experts = logits_NE.shape[1]
    return experts * (_shares(chosen_NK, experts) * logits_NE.softmax(1).mean(0)).sum()


def _shares(chosen_NK: Tensor, experts: int) -> Tensor:
    return torch.bincount(chosen_NK.flatten(), minlength=experts) / max(1, chosen_NK.numel())


class _WithGradientOf(torch.autograd.Function):
    """The outputs as they are; backwards, the gradient of `value` is added, as if it had been part of the loss.

    So a term of the encoder's own needs no place in the losses, heads and cached gradients that embeddings pass.
    """

    @staticmethod
    def forward(ctx: Any, outputs_ND: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(torch.ones_like(value))
        return outputs_ND.view_as(outputs_ND)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (one,) = ctx.saved_tensors
        return gradients[0], one
