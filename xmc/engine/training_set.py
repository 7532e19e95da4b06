"""What a run trains on: the data set with a dev split, the queries of an epoch, prepared texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from xmc.api import WholeHeadOptions
from xmc.data.dataset import Dataset, QueryTable, load_dataset, split_off_dev, take_train
from xmc.encode.encoder import Encoder
from xmc.engine.devices import choose_device
from xmc.engine.run_config import RunConfig
from xmc.errors import ConfigError
from xmc.train.bags import Bags
from xmc.train.loop import TrainingSet
from xmc.train.options import TrainOptions
from xmc.train.schedule import Pool
from xmc.values import Hits, Positives

AUTO_LABEL_TEXT_SHARE = 0.25
PAIRS_AN_EPOCH = {"cpu": 4_000_000_000, "cuda": 400_000_000_000}  # of queries and all labels, in minutes


def load_for_training(config: RunConfig) -> Dataset:
    """The data set of a configuration, with a dev split carved out of train when it has none; then fewer queries."""
    if not config.data.name:
        raise ConfigError("no data set is named.", hint="Give --data NAME_OR_FOLDER (shipped: icd10cm, tiny).")
    data = load_dataset(config.data.name)
    if data.dev is None and config.train.validation_share > 0:
        data = split_off_dev(data, fraction=config.train.validation_share, seed=config.train.seed)
    if config.data.train_queries:
        data = take_train(data, config.data.train_queries, seed=config.train.seed)
    return data


def with_label_scope(config: RunConfig, data: Dataset) -> RunConfig:
    """The configuration with `[train] label_scope = "auto"` settled: `all` labels where that is a matter of minutes.

    A head that learns from all labels at no cost (`all_labels_at_no_cost`), or is fitted in one go, is given `all`.
    """
    if config.train.label_scope != "auto":
        return config
    options, device = config.head.options, choose_device(config.train.device).partition(":")[0]
    free = isinstance(options, WholeHeadOptions) or getattr(options, "all_labels_at_no_cost", False)
    scope: Literal["all", "sampled"] = "sampled"
    if free or len(data.train) * len(data.labels) <= PAIRS_AN_EPOCH[device]:
        scope = "all"
    return replace(config, train=replace(config.train, label_scope=scope))


def epoch_pool(config: RunConfig, data: Dataset) -> Pool:
    """The training queries, and the share of label texts that joins them in each epoch.

    Raises: ConfigError when the queries are in bags, which must be whole in a batch, and [train] does not allow it.
    """
    share = config.train.label_text_share
    if data.train.bag_ids is not None:
        return Pool(len(data.train), bags=_bags(data.train.bag_ids, config.train))
    if share == "auto":
        unseen = bool(np.mean(data.train_counts() == 0) > 0.5)
        share = AUTO_LABEL_TEXT_SHARE if unseen and getattr(config.encoder.options, "shared", True) else 0.0
    drawn = min(len(data.labels), round(share * len(data.train)))
    return Pool(len(data.train), len(data.labels), drawn) if drawn else Pool(len(data.train))


def _bags(bag_ids: Sequence[str], options: TrainOptions) -> Bags:
    bags = Bags(bag_ids)
    if bags.largest > options.batch_size or options.accumulate > 1:
        raise ConfigError(
            f"the training queries are in bags of up to {bags.largest}, and a bag must be whole in a batch, which it"
            f" cannot be with [train] batch_size = {options.batch_size} and accumulate = {options.accumulate}.",
            hint=f"Set accumulate = 1 and batch_size to {bags.largest} or more.",
        )
    if options.label_text_share not in ("auto", 0):
        raise ConfigError(
            f"the training queries are in bags, which label texts cannot join, got [train] label_text_share ="
            f" {options.label_text_share}.",
            hint="Set label_text_share = 0.",
        )
    return bags


def validation_queries(data: Dataset, config: RunConfig) -> QueryTable | None:
    """The dev queries, or a random `[train] validation_queries` of them; None without a dev split."""
    dev = data.dev
    if dev is None or len(dev) <= config.train.validation_queries:
        return dev
    rows = np.random.default_rng(config.train.seed).choice(len(dev), config.train.validation_queries, replace=False)
    return dev.take(np.sort(rows))


def training_set(
    encoder: Encoder, data: Dataset, config: RunConfig, pool: Pool, teacher: Hits | None = None
) -> TrainingSet:
    """Everything prepared for the encoder; with label texts in the pool they follow the training queries."""
    validation = validation_queries(data, config)
    texts, positives = query_texts(data, pool)
    return TrainingSet(
        queries=encoder.prepare(texts, "query"),
        pool=pool,
        positives=positives,
        labels=len(data.labels),
        validation=(encoder.prepare(validation.texts, "query"), validation.positives) if validation else None,
        teacher=teacher,
    )


def query_texts(data: Dataset, pool: Pool) -> tuple[Sequence[str], Positives]:
    """Texts and positives of all rows of a pool: the training queries, then the label texts if they join."""
    if not pool.sometimes:
        return data.train.texts, data.train.positives
    return [*data.train.texts, *data.labels.texts], append_own_labels(data.train.positives, len(data.labels))


def append_own_labels(positives: Positives, labels: int) -> Positives:
    """The positives, then one query for each label whose only positive is that label."""
    last = positives.offsets[-1]
    return Positives(
        np.concatenate((positives.offsets, last + np.arange(1, labels + 1))),
        np.concatenate((positives.label_rows, np.arange(labels, dtype=positives.label_rows.dtype))),
        np.concatenate((positives.weights, np.ones(labels, dtype=positives.weights.dtype))),
    )
