"""What a training in steps begins with: encoder, head and plan, made before anything is learned or written."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from xmc.api import Head, HeadContext
from xmc.encode.embedding_check import TEXTS, require_embeddings
from xmc.encode.encoder import Encoder
from xmc.engine.component import Component
from xmc.engine.job import Job
from xmc.engine.teacher import Teacher, needs_of, open_teacher
from xmc.engine.training_set import epoch_pool, validation_queries
from xmc.errors import ConfigError, PluginError, XmcWarning
from xmc.train.checkpoint import Checkpoint
from xmc.train.options import TrainOptions
from xmc.train.plan import Plan, make_plan
from xmc.train.precision import choose_precision
from xmc.train.replicated_head import head_for_ranks
from xmc.train.schedule import Pool
from xmc.train.scored_head import ScoredHead


@dataclass(frozen=True)
class TrainStart:
    """Encoder and head as they are before the first step, with what was settled for them."""

    encoder: Encoder
    head: Head
    options: TrainOptions
    pool: Pool
    teacher: Teacher | None
    plan: Plan


def train_start(job: Job, checkpoint: Checkpoint | None = None) -> TrainStart:
    """From nothing, or from a checkpoint. Raises: what encoder, head and teacher raise; ConfigError."""
    config, data, ranks = job.config, job.data, job.ranks
    _require_mining(config.train)
    teacher = open_teacher(config)
    encoder = checkpoint.encoder(config.encoder.options) if checkpoint else job.new_encoder()
    encoder.module.to(job.device)
    if ranks.writes:
        _warn_of_unused_rate(config.train, encoder)
    precision = choose_precision(config.train.precision, encoder=encoder, device=job.device)
    options = replace(config.train, precision=precision)
    context = replace(job.head_context(encoder), train=options, ranks=None if ranks.size == 1 else ranks)
    require_embeddings(encoder, encoder.prepare(data.train.texts[:TEXTS], "query"), "query")
    require_embeddings(encoder, context.label_features, "label")
    if teacher and "teacher_vectors" in needs_of(config):
        context = replace(context, teacher_vectors=teacher.vectors(data))
    head = head_for_ranks(_built_head(config.head, context), ranks=ranks, batch_size=options.batch_size)
    pool = epoch_pool(config, data)
    plan = make_plan(
        encoder,
        head,
        options,
        queries=pool,
        validation=len(validation_queries(data, config) or ()),
        labels=len(data.labels),
        device=job.device,
        pool=context.pool,
        processes=ranks.size,
    )
    return TrainStart(encoder, head, options, pool, teacher, plan)


def _warn_of_unused_rate(options: TrainOptions, encoder: Encoder) -> None:
    if options.label_learning_rate and not encoder.label_parameters():
        warnings.warn(
            f"train.label_learning_rate = {options.label_learning_rate:g} changes nothing: the encoder "
            f"'{encoder.name}' as it is configured has no parameters that only labels use.",
            XmcWarning,
            stacklevel=3,
        )


def _built_head(part: Component, context: HeadContext) -> Head:
    """The head of a context. Raises: PluginError when it is none, ConfigError for a precision that it does not know."""
    built = part.options.build(context)
    if not isinstance(built, Head):
        raise PluginError(
            f"head '{part.name}' builds a {type(built).__name__}, which lacks some of parameters(), learn(), "
            "update(), label_vectors(), query_map(), state() and load_state().",
            hint="docs/plugins.md has an example.",
        )
    in_products = context.train.precision == "bfloat16" and context.encoder.whole_label_graph
    if in_products and not isinstance(built, ScoredHead):
        raise ConfigError(
            f"[train] precision 'bfloat16' is that of the products of queries and labels, which the head '{part.name}' "
            "does not make.",
            hint="Set precision = 'float32' or 'auto'.",
        )
    return built


def _require_mining(options: TrainOptions) -> None:
    """Raise the ConfigError of a training that ends before labels are mined for the first time."""
    if options.label_scope == "mined" and 0 < options.epochs <= options.mining_start:
        raise ConfigError(
            f"[train] label_scope is 'mined', but with epochs = {options.epochs:,} no label would ever be mined: that "
            f"begins with epoch mining_start = {options.mining_start:,}, counted from 0.",
            hint="Set mining_start below epochs, or label_scope = 'sampled'.",
        )
