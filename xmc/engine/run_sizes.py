"""How large a training was, or would be, and what it reached on held-out queries: a point of the scaling laws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from xmc.api import WholeHeadOptions
from xmc.data.dataset import Dataset, QueryTable
from xmc.engine.card_reports import read_report
from xmc.engine.held_out_loss import held_out_loss
from xmc.engine.job import Job
from xmc.engine.run_config import RunConfig
from xmc.engine.train_start import train_start
from xmc.engine.training_set import validation_queries, with_label_scope
from xmc.errors import ArtifactError, ConfigError, DataError, quoted
from xmc.plugin_manager import Plugins
from xmc.retrieve.trained_model import HEAD_FOLDER, STATE_NAME, TrainedModel, load_model
from xmc.scale.points import Point, Size
from xmc.train.reporter import SilentReporter
from xmc.values import RunInfo

FLOAT_BYTES = 4  # parameters are float32 whatever the precision of products


def planned_size(config: RunConfig, data: Dataset, *, plugins: Plugins) -> Size:
    """The size of a training that was not made: its encoder and head are built, and nothing is learned."""
    refuse_whole(config)
    _refuse_untrained(config)
    config = with_label_scope(config, data)
    info = RunInfo("", config.to_dict(), len(data.train), len(data.labels))
    job = Job(config, Path(), data, plugins, info, SilentReporter())
    start = train_start(job)
    of_head = sum(value.numel() for name, value in start.head.state().items() if not name.startswith("optimiser."))
    return _size(start.plan.to_dict(), data, of_head=of_head, epochs=config.train.epochs)


def measured_point(
    name: str,
    run: Path,
    config: RunConfig,
    data: Dataset,
    *,
    plugins: Plugins,
    device: str = "cpu",
    seconds: float | None = None,
) -> Point:
    """A finished run as a point; `seconds` are those of its report unless they are given.

    Raises: ArtifactError when the run is not finished; ConfigError for a head that is fitted in one go; DataError when
    the data set is not the one that the run was trained on, and as `held_out_queries`.
    """
    refuse_whole(config)
    _refuse_untrained(config)
    report = training_report(run)
    require_data_as_trained(f"run '{name}'", report, data)
    queries = held_out_queries(f"run '{name}'", data, config)
    model = load_model(run, plugins=plugins)
    size = _size(report["plan"], data, of_head=_head_parameters(model), epochs=report["epochs_run"])
    found = held_out_loss(model, data.labels, queries, device=device)
    return Point(name, size, found.loss, found.p1, found.queries, report["train_s"] if seconds is None else seconds)


def require_data_as_trained(who: str, report: Mapping[str, Any], data: Dataset) -> None:
    """Refuse a data set that is not what the training report is of. Raises: DataError."""
    if report["data"]["fingerprint"] != data.fingerprint:
        raise DataError(
            f"{who} was trained on another state of the data set '{data.name}'.",
            hint="Put the data set back, or train the run again.",
        )


def held_out_queries(who: str, data: Dataset, config: RunConfig) -> QueryTable:
    """The queries that a law is about. Raises: DataError, naming `who` has none, or has them in bags."""
    queries = validation_queries(data, config)
    if queries is None:
        raise DataError(
            f"{who} has no held-out queries.",
            hint="Train anew with a dev table, or with train.validation_share > 0.",
        )
    if queries.bag_ids is not None:
        raise DataError(
            f"the held-out queries of {who} are in bags, and their labels are those of the bag, with any noise: loss "
            "and P@1 on them are not those of single queries.",
            hint="Add a dev table of queries with labels of their own.",
        )
    return queries


def refuse_whole(config: RunConfig) -> None:
    """Refuse a head without epochs, of which no law speaks. Raises: ConfigError."""
    if isinstance(config.head.options, WholeHeadOptions):
        raise ConfigError(
            f"head '{config.head.name}' is fitted in one go; the law is of training in steps.",
            hint="Give runs with another head.",
        )


def _refuse_untrained(config: RunConfig) -> None:
    if not config.train.epochs:
        raise ConfigError(
            "with train.epochs = 0 nothing is trained, so there is nothing to scale.",
            hint="Set train.epochs to 1 or more.",
        )


def training_report(run: Path) -> dict[str, Any]:
    """What a finished run says of its training. Raises: ArtifactError when it is not finished, or damaged."""
    report = read_report(run / "train.json")
    if report is None:
        raise ArtifactError(
            f"{run} is not a finished run (it has no train.json).", hint=f"xmc train --out {quoted(run)} --resume"
        )
    return report


def _size(plan: dict[str, Any], data: Dataset, *, of_head: int, epochs: int) -> Size:
    """The size by its plan, at so many epochs; a label text that joins is one pair.

    Parameters are those that are trained: what is stored can be fewer, where an encoder folds them on saving.
    """
    queries = epochs * (plan["train_queries"] + plan["label_text_queries"])
    pairs = epochs * (int(data.train.positives.offsets[-1]) + plan["label_text_queries"])
    steps = plan["steps"] // plan["epochs"] * epochs
    parameters = plan["parameter_bytes"] // FLOAT_BYTES + of_head
    return Size(parameters, pairs, queries, queries * plan["scored_labels"], steps, plan["dimension"])


def _head_parameters(model: TrainedModel) -> int:
    """How many numbers the head's state has."""
    state = model.folder / HEAD_FOLDER / STATE_NAME
    if not state.is_file():
        return 0
    with safe_open(state, framework="pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 (no dict)
