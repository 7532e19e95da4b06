"""Fit a head in one go: the encoder makes features, the head is solved over all of them, nothing goes by steps."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from xmc.api import FittedHead, WholeHeadOptions
from xmc.counted import counted
from xmc.encode.encoder import Encoder, embed_chunks
from xmc.engine.job import Job
from xmc.engine.run_config import DEFAULTS, RunConfig
from xmc.engine.training_set import validation_queries
from xmc.errors import ConfigError
from xmc.index_building import build_index
from xmc.retrieve.batch import concatenate_hits
from xmc.train.distributed import Ranks
from xmc.train.options import TrainOptions

USED_SETTINGS = ("seed", "device", "validation_share", "validation_queries")  # of [train]; the others are about steps


def fit_whole(job: Job) -> dict[str, Any]:
    """Fit, validate, commit; the training report. A fit that is stopped starts anew with `--resume`."""
    started = time.monotonic()
    encoder = job.new_encoder()
    features = job.carried.train_features = encoder.prepare(job.data.train.texts, "query")
    total = 0

    def progress(done: int, parts: int) -> None:
        nonlocal total
        total = parts
        job.reporter.step_finished(done, parts, float("nan"), 0)

    head = job.config.head.options.fit(job.head_context(encoder), features, job.data.train.positives, progress=progress)
    validation = _precision_at_1(job, encoder, head)
    seconds = round(time.monotonic() - started, 3)
    row = {"epoch": 1, "step": total, "validation_p1": validation, "seconds": seconds}
    job.observer().epoch_finished(row)
    job.commit(encoder, head)
    return job.write_report(epochs_run=1, best_epoch=1, best_validation_p1=validation, train_s=seconds)


def refuse_what_a_whole_fit_lacks(config: RunConfig, ranks: Ranks) -> None:
    """Refuse what a head that is fitted in one go makes no use of; nothing for other heads.

    Raises: ConfigError naming the settings, the augmentation or the number of processes.
    """
    if not isinstance(config.head.options, WholeHeadOptions):
        return
    fitted = f"head '{config.head.name}' is fitted in one go"
    refuse_unused_settings(config)
    if config.augmentation.name != "none":
        raise ConfigError(
            f"{fitted}, without epochs in which '{config.augmentation.name}' could rewrite queries.",
            hint="Set augmentation.name=none, or train another head.",
        )
    if ranks.size > 1:
        raise ConfigError(
            f"{fitted}, by one process, got {counted(ranks.size, 'process')}.", hint="Start xmc without torchrun."
        )


def refuse_unused_settings(config: RunConfig) -> None:
    """Refuse a loss, an optimiser or a setting of steps that a head which is fitted in one go would leave unread.

    Raises: ConfigError naming it.
    """
    unused = [
        f"train.{option.name}"
        for option in dataclasses.fields(TrainOptions)
        if option.name not in USED_SETTINGS and getattr(config.train, option.name) != option.default
    ]
    for section, part in (("optimizer", config.optimizer), ("loss", config.loss)):
        if part.name != DEFAULTS[section]["name"] or part.options != type(part.options)():
            unused.insert(0, f"[{section}] ({part.name})")
    if unused:
        raise ConfigError(
            f"head '{config.head.name}' is fitted in one go, without steps, loss and optimiser; it does not use "
            f"{', '.join(unused)}.",
            hint=f"Leave that out; of [train] it uses {', '.join(USED_SETTINGS)}.",
        )


def _precision_at_1(job: Job, encoder: Encoder, head: FittedHead) -> float:
    """P@1 on the validation queries through the run's index backend; -1 without any."""
    queries = validation_queries(job.data, job.config)
    if queries is None:
        return -1.0
    rows = np.arange(len(job.data.labels))
    backend, similarity = job.config.index.options, encoder.similarity
    vectors = head.label_vectors(rows)
    index = build_index(backend, vectors, labels=len(rows), similarity=similarity, device=job.index_device)
    features = encoder.prepare(queries.texts, "query")
    chunks = embed_chunks(encoder, features, "query", chunk_size=1024)
    hits = concatenate_hits([index.search(part, 1) for part in chunks])
    return float(np.isin(hits.pair_keys(len(rows)), queries.positives.pair_keys(len(rows))).sum() / len(queries))
