"""What a run is about to do and need, before the first step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from xmc.api import Head
from xmc.encode.encoder import Encoder
from xmc.train.options import TrainOptions
from xmc.train.schedule import Pool, step_queries
from xmc.train.scorer import SCORE_COPIES, rows_in_memory
from xmc.train.validation import QUERIES_AT_ONCE

POSITIVES_GUESSED = 5  # of a query; only for the estimate


@dataclass(frozen=True)
class Plan:
    """Sizes of a run; bytes are estimates of what training adds to the memory of the data itself."""

    train_queries: int
    label_text_queries: int
    validation_queries: int
    labels: int
    scored_labels: int
    dimension: int
    epochs: int
    steps: int
    query_rows_at_once: int
    parameter_bytes: int
    head_bytes: int
    label_embedding_bytes: int
    score_bytes: int
    peak_bytes: int
    device: str
    precision: str
    threads: int
    processes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(
    encoder: Encoder,
    head: Head,
    options: TrainOptions,
    *,
    queries: Pool,
    validation: int,
    labels: int,
    device: str,
    pool: Literal["row", "batch"] = "row",
    processes: int = 1,
) -> Plan:
    """Estimate a run: parameters x 4 (weights, gradient, two moments) + head x 2 + scored labels x D x 3 + scores.

    Or what is held between steps, without gradients but with the vectors of all labels, to validate and to mine, when
    that is more. Labels that were mined for each query are held all the time, and twice while others are. The bytes are
    those of one process; with several each holds its share of the head, which is not taken off.
    """
    import torch

    parameter_bytes = sum(p.numel() * p.element_size() for p in encoder.module.parameters())
    head_bytes = sum(value.nbytes for value in head.state().values())
    scored = labels if options.scores_all_labels else min(labels, _drawn_labels(options))
    rows = min(options.batch_size, rows_in_memory(scored, options.score_memory_mb, pool=pool, device=device))
    label_bytes = scored * encoder.dimension * 4
    score_bytes = rows * scored * 4 * SCORE_COPIES
    mined_bytes = _mined_bytes(options, queries, labels)
    in_a_step = 4 * parameter_bytes + 2 * head_bytes + 3 * label_bytes + score_bytes
    all_labels = _all_labels_bytes(
        options,
        labels=labels,
        dimension=encoder.dimension,
        validation=validation,
        device=device,
        processes=processes,
        mined_bytes=mined_bytes,
    )
    between_steps = 3 * parameter_bytes + head_bytes + all_labels
    return Plan(
        train_queries=queries.always,
        label_text_queries=queries.drawn,
        validation_queries=validation,
        labels=labels,
        scored_labels=scored,
        dimension=encoder.dimension,
        epochs=options.epochs,
        steps=options.epochs * queries.steps(step_queries(options)),
        query_rows_at_once=rows,
        parameter_bytes=parameter_bytes,
        head_bytes=head_bytes,
        label_embedding_bytes=label_bytes,
        score_bytes=score_bytes,
        peak_bytes=max(in_a_step, between_steps) + mined_bytes,
        device=device,
        precision="float32" if options.precision == "auto" else options.precision,
        threads=torch.get_num_threads(),
        processes=processes,
    )


def _all_labels_bytes(
    options: TrainOptions,
    *,
    labels: int,
    dimension: int,
    validation: int,
    device: str,
    processes: int,
    mined_bytes: int,
) -> int:
    """The vectors of all labels with the scores of validation, or with what an index is made of and what it finds."""
    matrix = labels * dimension * 4
    gathering = matrix if processes == 1 else 3 * matrix  # own ones twice, all as they come, all in their order
    needed = [0]
    if validation:
        rows = min(validation, QUERIES_AT_ONCE, rows_in_memory(labels, options.score_memory_mb, device=device))
        needed.append(max(gathering, matrix + rows * labels * 4))
    if options.label_scope == "mined":
        needed.append(max(gathering, 2 * matrix) + mined_bytes)
    return max(needed)


def _mined_bytes(options: TrainOptions, queries: Pool, labels: int) -> int:
    """The table of the labels that are mined for each query, int32."""
    if options.label_scope != "mined":
        return 0
    return (queries.always + queries.sometimes) * min(options.mining_depth, labels) * 4


def _drawn_labels(options: TrainOptions) -> int:
    mined = options.hard_negatives if options.label_scope == "mined" else 0
    return options.sampled_labels + (POSITIVES_GUESSED + mined) * options.batch_size
