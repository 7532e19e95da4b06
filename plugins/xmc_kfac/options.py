"""The options of K-FAC."""

from __future__ import annotations

from dataclasses import dataclass

from xmc.api import ConfigError, OptimizerContext, require_at_least, require_positive, require_share
from xmc_kfac.label_matrix import QueryMoment
from xmc_kfac.optimizer import KFac


@dataclass(frozen=True)
class KFacOptions:
    """Natural-gradient steps for linear, embedding and LSTM layers, and for the label matrix of a classifier head.

    [train] `learning_rate` is that of the layers; parameters in none of them, such as the table of the encoder
    `static`, learn by AdamW at `others_rate`. `label_learning_rate` is that of all that only labels use.
    `damping`: added to the Fisher matrix; larger is closer to plain descent. `decay`: of the factors' average.
    `factor_steps`, `inverse_steps`: factors are looked at, and inverted, every so many steps. `momentum`: of the steps.
    `kl_clip`: bound on how far one step may change the model (0 = none). `label_damping`: share of its mean eigenvalue
    that is added to the second moment of the queries before a classifier head's gradient is multiplied by its inverse
    (0 = the head learns as without K-FAC).

    The Fisher matrix is the empirical one, of the gradients of the data's own targets: losses over sets of labels do
    not say what distribution to draw targets from. `xmc_kfac.optimizer.KFac` by itself can sample.
    """

    damping: float = 1e-3
    decay: float = 0.95
    factor_steps: int = 5
    inverse_steps: int = 20
    momentum: float = 0.9
    kl_clip: float = 1e-3
    others_rate: float = 0.01
    label_damping: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, "factor_steps", "inverse_steps")
        require_share(self, "decay", "momentum", whole=False)
        require_at_least(0, self, "damping", "kl_clip", "label_damping")
        require_positive(self, "others_rate")

    def build(self, context: OptimizerContext) -> KFac:
        """The optimiser, its hooks set on the encoder's layers.

        Raises: ConfigError with several processes, whose factors would differ.
        """
        if context.processes > 1:
            raise ConfigError(
                f"the optimizer kfac works in one process, got {context.processes}: each would have factors of its own "
                "share of the batch.",
                hint="Start xmc without torchrun, or set optimizer.name=adamw.",
            )
        return KFac(
            context.groups,
            context.module,
            lr=context.train.learning_rate,
            others_rate=self.others_rate,
            damping=self.damping,
            decay=self.decay,
            factor_steps=self.factor_steps,
            inverse_steps=self.inverse_steps,
            momentum=self.momentum,
            kl_clip=self.kl_clip,
            weight_decay=context.train.weight_decay,
        )

    def label_preconditioner(self, *, dimension: int, device: str) -> QueryMoment | None:
        """The inverse second moment of the queries, unless `label_damping` is 0."""
        if not self.label_damping:
            return None
        settings = {"damping": self.label_damping, "decay": self.decay}
        return QueryMoment(dimension, **settings, inverse_steps=self.inverse_steps, device=device)
