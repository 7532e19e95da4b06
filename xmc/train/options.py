"""The options of a training run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from xmc.option_ranges import require_at_least, require_at_most, require_positive, require_share

AT_LEAST_ONE = (
    "batch_size",
    "accumulate",
    "sampled_labels",
    "hard_negatives",
    "mining_depth",
    "mining_epochs",
    "label_chunk",
    "score_memory_mb",
    "validation_queries",
)
AT_LEAST_ZERO = (
    "epochs",
    "mining_skip",
    "mining_start",
    "sampled_positives",
    "weight_decay",
    "label_learning_rate",
    "clip_norm",
    "patience",
    "checkpoint_s",
    "seed",
)


@dataclass(frozen=True)
class TrainOptions:
    """How to train. Sizes are in queries, megabytes are 2^20 bytes.

    `epochs`: passes over the training queries; 0 takes the model as it is (a pretrained encoder), without training.
    `accumulate`: so many batches make one step of the optimiser, on the mean of their losses; each has its own sampled
    and mined labels and its own pool. (For a loss of single queries over all labels it is the same as a larger
    `batch_size`, whose memory for activations and scores does not grow either.)
    `precision`: in what the largest products are made while learning, those of a network encoder's layers, or of
    queries and label vectors where embeddings are sums of table rows: `float32`, `bfloat16` (weights, losses and sums
    over the batch stay float32), or `auto`, bfloat16 for a network on a GPU that has it.
    `label_learning_rate`: for parameters that only labels use (0 = as the others).
    `label_scope`: `all` scores every query against every label, exactly; `sampled` against the positives of the batch
    plus `sampled_labels` labels drawn at random; `auto` is `all` while an epoch has at most 4 billion pairs of a query
    and a label (400 billion on a GPU), else `sampled`, and the report says which; `mined` against `hard_negatives`
    labels of each query as well, drawn from the `mining_depth` that the run's index ranks best among those that are not
    relevant (nor bear the text of a relevant one), after leaving out the `mining_skip` very best. They are mined at the
    start of epoch `mining_start` (from 0; one that the run has) and of every `mining_epochs`-th one after it.
    `sampled_positives`: train each query on so many of its positives, drawn anew at each visit with a probability
    proportional to their relevance; the others are not among its labels for that visit (0 = on all).
    `score_memory_mb` bounds the memory of the scores: the batch is walked in chunks of query rows that fit.
    `label_text_share`: so many label texts for each training query join an epoch, drawn anew each time, as queries for
    their own label (`auto`: 0.25 when labels share their weights with queries and more than half of them have no
    training query, else none).
    `validation_share`: share of train held out (by hash of the query id) when the data set has no dev split.
    `patience`: stop after so many epochs without a better validation P@1 (0 = never).
    """

    epochs: int = 5
    batch_size: int = 512
    accumulate: int = 1
    learning_rate: float = 0.01
    label_learning_rate: float = 0.0
    weight_decay: float = 0.0
    second_moment_decay: float = 0.99
    warmup_share: float = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    label_scope: Literal["auto", "all", "sampled", "mined"] = "auto"
    sampled_labels: int = 4096
    hard_negatives: int = 8
    mining_depth: int = 50
    mining_skip: int = 0
    mining_start: int = 1
    mining_epochs: int = 1
    sampled_positives: int = 0
    label_chunk: int = 256
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    label_text_share: float | Literal["auto"] = "auto"
    score_memory_mb: int = 512
    clip_norm: float = 0.0
    validation_share: float = 0.05
    validation_queries: int = 2000
    patience: int = 3
    checkpoint_s: float = 60.0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_at_least(1, self, *AT_LEAST_ONE)
        require_at_least(0, self, *AT_LEAST_ZERO)
        require_at_most(10_000, self, "hard_negatives")
        require_positive(self, "learning_rate")
        require_share(self, "warmup_share", "validation_share", "second_moment_decay", whole=False)
        if self.label_text_share != "auto" and not 0 <= self.label_text_share < math.inf:
            raise ValueError(f"label_text_share must be 'auto' or >= 0, got {self.label_text_share}")
        if self.seed >= 2**63:
            raise ValueError(f"seed must be below 2^63, got {self.seed}")

    @property
    def scores_all_labels(self) -> bool:
        """Is every query scored against every label? (So it is with an `auto` that nothing has settled.)"""
        return self.label_scope in ("all", "auto")
