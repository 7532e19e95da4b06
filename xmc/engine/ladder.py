"""The small trainings that a large one is predicted from: fewer queries, and encoders of half the width."""

from __future__ import annotations

from dataclasses import dataclass, replace

from xmc.counted import counted
from xmc.data.dataset import Dataset
from xmc.engine.component import Component
from xmc.engine.run_config import RunConfig
from xmc.engine.teacher import needs_of
from xmc.engine.training_set import epoch_pool, with_label_scope
from xmc.errors import ConfigError

SHARES = (0.25, 0.5, 1.0)  # of the ladder's largest number of queries
WIDTHS = (1.0, 0.5)
ONE_WIDTH_SHARES = (0.18, 0.25, 0.35, 0.5, 0.7, 1.0)  # for an encoder whose width is no setting, or that of a teacher
LEAST_QUERIES = 16
VALIDATION_QUERIES = 200  # of an epoch, which only choose the best one; figures are measured on all


@dataclass(frozen=True)
class Rung:
    """One small training: its name (queries x width) and its whole configuration."""

    name: str
    config: RunConfig


def ladder(config: RunConfig, data: Dataset, *, budget: float) -> list[Rung]:
    """The rungs below a training on `data`: together about `budget` of its compute (6 N D).

    What a setting `auto` comes to on all of the data, it is on a part of it too: the labels that a query is scored
    against, and label texts that join.

    Raises: ConfigError for a budget outside (0, 1], and when so little of the queries is left that nothing is learned.
    """
    if not 0 < budget <= 1:
        raise ConfigError(f"the budget is a share of the compute, above 0 and at most 1, got {budget:g}.")
    queries = len(data.train)
    config = with_label_scope(config, data)
    label_text_share = epoch_pool(config, data).drawn / queries
    config = replace(config, train=replace(config.train, label_text_share=label_text_share))
    width = getattr(config.encoder.options, "dimension", 0)
    sizes = [(share, part) for part in WIDTHS for share in SHARES]
    if width <= 1 or "teacher_vectors" in needs_of(config):
        sizes = [(share, 1.0) for share in ONE_WIDTH_SHARES]
    largest = min(1.0, budget / sum(share * part for share, part in sizes)) * queries
    if largest * sizes[0][0] < LEAST_QUERIES:
        raise ConfigError(
            f"{budget:.0%} of the compute leaves the smallest training {largest * sizes[0][0]:.0f} of "
            f"{counted(queries, 'query')}, and at least {LEAST_QUERIES} are needed.",
            hint="Give a larger --budget, or train on all of it: it is small.",
        )
    return [_rung(config, round(largest * share), round(width * part)) for share, part in sizes]


def _rung(config: RunConfig, queries: int, width: int) -> Rung:
    encoder = config.encoder
    if width:
        encoder = Component(encoder.name, replace(encoder.options, dimension=width))
    train = replace(config.train, validation_queries=min(config.train.validation_queries, VALIDATION_QUERIES))
    data = replace(config.data, train_queries=queries)
    name = f"{queries}x{width}" if width else str(queries)
    return Rung(name, replace(config, data=data, encoder=encoder, train=train))
