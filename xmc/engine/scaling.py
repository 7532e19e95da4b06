"""Predict a large training from a ladder of small ones, or from finished runs, and write what was found."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmc.data.dataset import Dataset, take_train
from xmc.engine.card_reports import read_report
from xmc.engine.carried import Carried
from xmc.engine.devices import choose_device
from xmc.engine.environment import versions
from xmc.engine.ladder import Rung, ladder
from xmc.engine.pictures import write_picture
from xmc.engine.progress import Progress, say_nothing
from xmc.engine.run_config import RunConfig, read_run_config
from xmc.engine.run_folder import remove_run
from xmc.engine.run_sizes import held_out_queries, measured_point, planned_size
from xmc.engine.training import run_training
from xmc.engine.training_set import load_for_training
from xmc.errors import ConfigError
from xmc.plugin_manager import Plugins
from xmc.scale.picture import draw_scale
from xmc.scale.points import Point, Size
from xmc.scale.prediction import Prediction, predict
from xmc.store import write_json

BUDGET = 0.1  # unless another share is given
LIBRARIES = ("torch._dynamo", "sentence_transformers", "matplotlib.pyplot")  # which a first training loads, in seconds
POINTS, TRAINING = "points", "training"  # the second in the first: a run of the user's may be named so


@dataclass(frozen=True)
class Scaled:
    """The prediction, and of what: `seconds_are` says whether seconds are of processors or of the clock."""

    prediction: Prediction
    seconds_are: str
    config: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = {"seconds_are": self.seconds_are, "config": dict(self.config), "versions": versions("scipy")}
        return {**self.prediction.to_dict(), **facts}


def scale_ladder(
    config: RunConfig,
    out: Path,
    *,
    plugins: Plugins,
    budget: float = BUDGET,
    seed: int = 0,
    on_progress: Progress = say_nothing,
) -> Scaled:
    """Train the ladder below `config` and predict the run that `config` describes.

    Each rung is trained in `out/points/training`, measured on the held-out queries and thrown away; its point stays in
    `out/points`, and a rung whose point is there already is not trained again.
    Raises: ConfigError for a budget or a head that cannot be; DataError as `held_out_queries`; what training raises.
    """
    whole = load_for_training(replace(config, data=replace(config.data, train_queries=0)))
    data = _with_queries(whole, config)
    held_out_queries("the training", data, config)
    rungs = ladder(config, data, budget=budget)
    points = []
    for done, rung in enumerate(rungs):
        on_progress(f"training {rung.name}", done, len(rungs))
        points.append(_rung_point(rung, _with_queries(whole, rung.config), out, config, plugins=plugins))
    on_progress("sizing the target", len(rungs), len(rungs))
    target = planned_size(config, data, plugins=plugins)
    return Scaled(predict(points, target, seed=seed), "processor", config.to_dict())


def require_one_target(
    runs: Mapping[str, Any],
    *,
    described: bool,
    settings: Mapping[str, Any],
    budget: float,
    pairs: int,
    parameters: int,
) -> None:
    """Refuse what would be passed over: a size beside a training that is described, settings of none, a budget of runs.

    Raises: ConfigError.
    """
    for name, value in (("pairs", pairs), ("parameters", parameters)):
        if value and described:
            raise ConfigError(
                f"{name}={value:,} is for finished runs alone; a described training says itself how large it is.",
                hint="Give finished runs without data, or describe a training of that size (train.epochs, its data).",
            )
    if runs and budget != BUDGET:
        raise ConfigError(f"budget={budget:g} is for the small trainings, and finished runs take their place.")
    if settings and not described:
        section, values = next(iter(settings.items()))
        raise ConfigError(
            f"settings such as {section}.{min(values)} describe the predicted training, and no data set is named.",
            hint="Give data as well, or pairs without settings.",
        )


def scale_runs(
    runs: Mapping[str, Path],
    *,
    plugins: Plugins,
    config: RunConfig | None = None,
    pairs: int = 0,
    parameters: int = 0,
    device: str = "cpu",
    seed: int = 0,
    on_progress: Progress = say_nothing,
) -> Scaled:
    """Predict, from finished runs, the run that `config` describes, or the largest of them made so much larger.

    `pairs` are those seen in all, epochs counted; without `parameters` they are those of the largest run.
    Raises: ConfigError without a target; DataError for fewer than five runs; as `measured_point`.
    """
    if config is None and not pairs:
        raise ConfigError(
            "which run is to be predicted?", hint="Give its --data (with --plugin, --config, --set), or --pairs."
        )
    points = []
    for done, (name, run) in enumerate(runs.items()):
        on_progress(f"measuring {name}", done, len(runs))
        of_run = read_run_config(plugins, run)
        points.append(measured_point(name, run, of_run, load_for_training(of_run), plugins=plugins, device=device))
    if config is not None:
        target = planned_size(config, load_for_training(config), plugins=plugins)
    else:
        largest = max((point.size for point in points), key=lambda size: size.compute, default=None)
        target = _grown(largest, pairs, parameters) if largest else Size(1, pairs, pairs, 0, 0, 0)
    return Scaled(predict(points, target, seed=seed), "clock", config.to_dict() if config else {})


def trained_point(name: str, config: RunConfig, run: Path, data: Dataset, *, held_out: int, plugins: Plugins) -> Point:
    """Train into `run`, over what was there, and measure on so many held-out queries; seconds are of processors.

    Libraries are loaded before, or the first of several trainings would seem to take ten times as long as it does.
    """
    for library in LIBRARIES:
        importlib.import_module(library)
    started = time.process_time()
    remove_run(run)  # of a call that was killed
    run_training(config, run, plugins=plugins, carried=Carried(data))
    seconds = time.process_time() - started
    measured_on = replace(config, train=replace(config.train, validation_queries=held_out))
    device = choose_device(config.train.device)
    return measured_point(name, run, measured_on, data, plugins=plugins, device=device, seconds=seconds)


def write_scale(scaled: Scaled, out: Path) -> None:
    """Write `out/report.json` and the picture of runs, laws and prediction as `out/scale.png` and `.svg`."""
    out.mkdir(parents=True, exist_ok=True)
    write_picture(out, "scale", draw_scale(scaled.prediction))
    write_json(out / "report.json", scaled.to_dict())


def _with_queries(whole: Dataset, config: RunConfig) -> Dataset:
    wanted = config.data.train_queries
    return take_train(whole, wanted, seed=config.train.seed) if wanted else whole


def _rung_point(rung: Rung, data: Dataset, out: Path, full: RunConfig, *, plugins: Plugins) -> Point:
    """The point of a rung, from `out/points` if it is that of the same configuration and data, else trained."""
    path = out / POINTS / f"{rung.name}.json"
    made_of = {"config": json.loads(json.dumps(rung.config.to_dict())), "data": data.fingerprint}
    found = read_report(path)
    if found and found.get("made_of") == made_of:
        return _read_point(found["point"])
    run = out / POINTS / TRAINING
    run.parent.mkdir(parents=True, exist_ok=True)
    point = trained_point(rung.name, rung.config, run, data, held_out=full.train.validation_queries, plugins=plugins)
    write_json(path, {"made_of": made_of, "point": point.to_dict()})
    shutil.rmtree(run)
    return point


def _read_point(values: Mapping[str, Any]) -> Point:
    size = {name: value for name, value in values["size"].items() if name != "compute"}
    return Point(**{**values, "size": Size(**size)})


def _grown(largest: Size, pairs: int, parameters: int) -> Size:
    """The largest run with so many pairs; queries, scores and steps grow as they do, the width as parameters do."""
    times = pairs / largest.pairs
    parameters = parameters or largest.parameters
    return Size(
        parameters, pairs, round(largest.queries * times), round(largest.scores * times), round(largest.steps * times),
        round(largest.dimension * parameters / largest.parameters),
    )  # fmt: skip
