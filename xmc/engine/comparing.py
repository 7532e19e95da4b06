"""Runs side by side: the settings in which they differ, how they were trained, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from xmc.engine.card_reports import REPORT_NAME, RunReports, as_written, evaluation_figures, read_reports
from xmc.errors import quoted
from xmc.plugin_manager import Plugins

OF_TRAINING = ("epochs_run", "best_validation_p1", "train_s")


@dataclass(frozen=True)
class Comparison:
    """Values by name, one for each of the `runs`, in their order; None where a run has none.

    `settings` are those in which the runs differ, `figures` those of the last evaluation: value, and the ends of its
    interval where it has one. `over_seeds` summarises runs that differ in `train.seed` alone, None for others. `notes`
    say why figures may not compare.
    """

    runs: tuple[str, ...]
    settings: Mapping[str, Sequence[Any]]
    training: Mapping[str, Sequence[Any]]
    figures: Mapping[str, Sequence[Mapping[str, float | None] | None]]
    notes: tuple[str, ...]
    over_seeds: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {"settings": self.settings, "training": self.training, "figures": self.figures}
        return {
            "runs": list(self.runs),
            **{name: dict(found) for name, found in values.items()},
            "over_seeds": self.over_seeds,
            "notes": [*self.notes],
        }


def compare_runs(runs: Sequence[Path], *, plugins: Plugins) -> Comparison:
    """Compare runs by the reports that they hold; nothing is measured.

    Raises: ConfigError when a folder is not a run, ArtifactError when a report is damaged.
    """
    reports = [read_reports(run, plugins=plugins) for run in runs]
    settings = _side_by_side([_flat(found.config) for found in reports])
    differing = {key: values for key, values in settings.items() if any(value != values[0] for value in values)}
    training = _side_by_side([_read(_training, *each, "train.json") for each in zip(runs, reports, strict=True)])
    figures = _side_by_side([_read(_figures, *each, REPORT_NAME) for each in zip(runs, reports, strict=True)])
    over_seeds = None
    if [*differing] == ["train.seed"] and len(set(differing["train.seed"])) == len(runs):
        measured = {name: [at and at["value"] for at in values] for name, values in figures.items()}
        over_seeds = {"training": _summaries(training), "figures": _summaries(measured)}
    notes = tuple(_notes(runs, reports))
    return Comparison(tuple(map(str, runs)), differing, training, figures, notes, over_seeds)


def _summaries(facts: Mapping[str, Sequence[float | None]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n - 1) of what every run has."""
    there = {name: [value for value in values if value is not None] for name, values in facts.items()}
    return {
        name: {"mean": fmean(values), "deviation": stdev(values)}
        for name, values in there.items()
        if len(values) == len(facts[name])
    }


def _read(facts: Callable[[RunReports], dict[str, Any]], run: Path, reports: RunReports, name: str) -> dict[str, Any]:
    with as_written(run / name):
        return facts(reports)


def _side_by_side(facts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """For each key of any of them its values."""
    return {key: [each.get(key) for each in facts] for key in dict.fromkeys(key for each in facts for key in each)}


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """`section.key` to value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return flat


def _training(reports: RunReports) -> dict[str, Any]:
    facts = {key: reports.train[key] for key in OF_TRAINING} if reports.train else {}
    if facts and facts["best_validation_p1"] < 0:  # nothing was held out to validate on
        facts["best_validation_p1"] = None
    return facts


def _figures(reports: RunReports) -> dict[str, Any]:
    if reports.evaluation is None:
        return {}
    return {name: dict(at) for name, at in evaluation_figures(reports.evaluation).items()}


def _notes(runs: Sequence[Path], reports: Sequence[RunReports]) -> list[str]:
    notes = []
    for run, found in zip(runs, reports, strict=True):
        if found.evaluation is None:
            notes.append(f"{run} has no figures. Measure them: xmc evaluate --run {quoted(run)}")
        elif found.evaluation_stale:
            notes.append(f"{run} has changed since its figures were measured. Again: xmc evaluate --run {quoted(run)}")
    notes += _notes_on_data([found.evaluation["data"] for found in reports if found.evaluation])
    weighed = [_read(_propensities, *each, REPORT_NAME) for each in zip(runs, reports, strict=True)]
    by = [f"A = {each['a']:g}, B = {each['b']:g}" for each in weighed if each]
    if len(set(by)) > 1:
        notes.append(f"PSP and PSnDCG do not compare, for they were measured with other propensities: {'; '.join(by)}")
    return notes


def _notes_on_data(evaluated: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether figures of one split, which stand side by side, are of the same queries and after the same training."""
    of_split: dict[str, tuple[set[str], set[str]]] = {}
    for data in evaluated:
        judged_by, whole = of_split.setdefault(data["split"], (set(), set()))
        judged_by.add(data.get("split_fingerprint", data["fingerprint"]))  # which reports of before do not have
        whole.add(data["fingerprint"])
    if any(len(judged_by) > 1 for judged_by, _ in of_split.values()):
        return ["the runs were evaluated on different data sets, or states of one: their figures may not compare"]
    if any(len(whole) > 1 for _, whole in of_split.values()):
        return [
            "the runs were evaluated on the same queries and labels and trained on other queries, by which bands (head "
            "to zero-shot), PSP and PSnDCG are counted: these do not compare"
        ]
    return []


def _propensities(reports: RunReports) -> dict[str, Any]:
    """The constants that an evaluation weighed rare labels by."""
    if reports.evaluation is None:
        return {}
    options = reports.evaluation["evaluation"]["options"]
    return {"a": options["propensity_a"], "b": options["propensity_b"]}
