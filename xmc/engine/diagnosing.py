"""Diagnose the head of a run: its features and answers, how it learned them, and when it should have stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array

from xmc.data.dataset import Dataset
from xmc.data.tables import QueryTable
from xmc.diagnose.dynamics import Array
from xmc.diagnose.features import Data
from xmc.diagnose.picture import draw_diagnosis
from xmc.diagnose.report import Diagnosis, RunHead, diagnose
from xmc.encode.encoder import embed_texts
from xmc.engine.devices import choose_device
from xmc.engine.environment import versions
from xmc.engine.pictures import write_picture
from xmc.engine.run_config import RunConfig, read_run_config
from xmc.engine.run_sizes import refuse_whole, require_data_as_trained, training_report
from xmc.engine.training_set import load_for_training
from xmc.errors import ConfigError, DataError
from xmc.given_numbers import whole_number
from xmc.plugin_manager import Plugins
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.store import write_json
from xmc.train.schedule import learning_rate_share
from xmc.values import Positives

FOLDER = "diagnosis"
MOST_QUERIES, MOST_HELD_OUT = 20_000, 4_000  # more say nothing new of some hundred features


@dataclass(frozen=True)
class Diagnosed:
    """The diagnosis and what it is of; `measured_step` is the step of the run's best validation P@1, if it had one."""

    diagnosis: Diagnosis
    measured_step: int | None
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        measured = {"measured_best_step": self.measured_step}
        return {**self.diagnosis.to_dict(), **measured, **self.facts, "versions": versions("scipy")}


def diagnose_head(run: Path, *, plugins: Plugins, device: str = "auto", seed: int = 0) -> Diagnosed:
    """Diagnose the committed model of a run on its training and its dev queries.

    The features are the embeddings of queries, the answers 1 where a label is relevant, the head the label vectors. Of
    many queries a part is taken, drawn by `seed`.
    Raises: ConfigError for a head that is fitted in one go or has a query map, and for an encoder of sparse vectors;
    DataError without held-out queries, for labels of bags, or when the data set is not the one that the run was trained
    on.
    """
    seed = whole_number(seed, name="the seed", least=0)
    config = read_run_config(plugins, run)
    refuse_whole(config)
    report, data = training_report(run), load_for_training(config)
    require_data_as_trained(str(run), report, data)
    if data.train.bag_ids is not None:
        raise DataError(
            f"{run} was trained on labels of bags, so that whose label is whose, the answers of a head, is not known.",
            hint="Diagnose a run that was trained on queries with labels of their own.",
        )
    if data.dev is None:
        raise DataError(
            f"{run} has no held-out queries.",
            hint="Train anew with a dev table in the data set, or with train.validation_share > 0.",
        )
    model = load_model(run, plugins=plugins)
    model.encoder.module.to(choose_device(device))
    generator = np.random.default_rng(seed)
    train, held_out = (_some(*each, generator) for each in ((data.train, MOST_QUERIES), (data.dev, MOST_HELD_OUT)))
    pairs = Data(*_embedded(model, train, data), *_embedded(model, held_out, data))
    found = diagnose(pairs, _run_head(model, config, data, report), seed=seed)
    best = _best_step(report) if report["best_validation_p1"] >= 0 and report["plan"]["steps"] else None
    facts = {"head": config.head.name, "loss": config.loss.name, "data": report["data"], "seed": seed}
    return Diagnosed(found, best, facts)


def write_diagnosis(run: Path, found: Diagnosed) -> Path:
    """Write `run/diagnosis/report.json` and the picture as PNG and SVG; the folder."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    write_picture(folder, "diagnosis", draw_diagnosis(found.diagnosis))
    write_json(folder / "report.json", found.to_dict())
    return folder


def _some(queries: QueryTable, most: int, generator: np.random.Generator) -> QueryTable:
    if len(queries) <= most:
        return queries
    return queries.take(np.sort(generator.choice(len(queries), most, replace=False)))


def _embedded(model: TrainedModel, queries: QueryTable, data: Dataset) -> tuple[Array, csr_array]:
    embeddings_QD = embed_texts(model.encoder, queries.texts, "query")
    if embeddings_QD.layout != torch.strided:
        raise ConfigError(
            "the encoder's vectors are sparse: they have too many features to be diagnosed.",
            hint="Diagnose a run with dense embeddings.",
        )
    return embeddings_QD.cpu().numpy().astype(np.float64), _answers(queries.positives, len(data.labels))


def _answers(positives: Positives, labels: int) -> csr_array:
    ones = np.ones(len(positives.label_rows))
    return csr_array((ones, positives.label_rows, positives.offsets), shape=(len(positives.offsets) - 1, labels))


def _run_head(model: TrainedModel, config: RunConfig, data: Dataset, report: Mapping[str, Any]) -> RunHead | None:
    """The label vectors, the step that they are of, and the sum of rate shares after each step; None if untrained."""
    chunks, query_map = model.label_vectors(data.labels)
    if query_map is not None:
        raise ConfigError(
            f"head '{config.head.name}' maps queries before it scores them; it is not a plain linear head.",
            hint="Diagnose a run with another head.",
        )
    if not report["plan"]["steps"]:
        return None
    head_LN = torch.cat(list(chunks)).cpu().numpy().astype(np.float64)
    total = report["plan"]["steps"]
    shares = (learning_rate_share(step, total, config.train) for step in range(total))
    return RunHead(head_LN, _best_step(report), list(accumulate(shares)))


def _best_step(report: Mapping[str, Any]) -> int:
    """The step of the committed model: the last one of the best epoch."""
    step: int = report["best_epoch"] * (report["plan"]["steps"] // report["plan"]["epochs"])
    return step
