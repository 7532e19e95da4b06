"""What the reports in a run folder say, read for its model card, and whether they are about the run as it is now."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.engine.run_config import read_run_toml
from xmc.plugin_manager import Plugins
from xmc.retrieve.layout import checks_folder, index_store, reranker_store
from xmc.retrieve.run_state import identity_of
from xmc.store.manifest import damaged

REPORT_NAME = "report.json"
OPEN_FIGURES = 24
NAMED_SECTIONS = ("data", "encoder", "head", "loss", "augmentation", "optimizer", "index", "reranker")


@dataclass(frozen=True)
class CheckFacts:
    """An installed check and the report that the run has of it, if any; `stale`: of another state of the run."""

    name: str
    summary: str
    report: Mapping[str, Any] | None
    stale: bool

    @property
    def measured(self) -> bool:
        """Whether there are figures."""
        return bool(self.report and self.report["figures"])

    @property
    def folded(self) -> bool:
        """Whether there are too many figures to stand open."""
        return bool(self.report and len(self.report["figures"]) > OPEN_FIGURES)


@dataclass(frozen=True)
class RunReports:
    """The reports of a run: None where something was not done.

    `index` is the report of the index that is there now, `second_stage` what is noted of the one that is there now.
    """

    config: Mapping[str, Any]
    train: Mapping[str, Any] | None
    evaluation: Mapping[str, Any] | None
    evaluation_stale: bool
    index: Mapping[str, Any] | None
    second_stage: Mapping[str, Any] | None
    checks: tuple[CheckFacts, ...]


def read_reports(run: Path, *, plugins: Plugins) -> RunReports:
    """Read what there is.

    Raises: ConfigError when the folder is not a run, ArtifactError when something in it is damaged.
    """
    config = read_run_toml(run)
    indexed = index_store(run).exists()
    identity = identity_of(run) if indexed else {}
    evaluation = read_report(run / REPORT_NAME)
    index = read_report(index_store(run).current().folder / "index.json") if indexed else None
    checks = []
    for offer in plugins.offers["check"]:
        report = read_report(checks_folder(run) / offer.full_name / REPORT_NAME)
        checks.append(CheckFacts(offer.full_name, offer.spec.summary, report, _is_stale(report, identity)))
    return RunReports(
        config,
        read_report(run / "train.json"),
        evaluation,
        _is_stale(evaluation, identity),
        index["report"] if index else None,
        reranker_store(run).current().manifest.facts if reranker_store(run).exists() else None,
        tuple(checks),
    )


def _is_stale(report: Mapping[str, Any] | None, identity: Mapping[str, str]) -> bool:
    """Whether a report is about another encoder, index, label set or second stage than those of `identity`."""
    return report is not None and report.get("model") != identity


def figures_are_stale(run: Path) -> bool:
    """Whether the evaluation that a run has is about another state of it. Raises: as `read_reports`."""
    evaluation = read_report(run / REPORT_NAME)
    return evaluation is not None and _is_stale(evaluation, identity_of(run) if index_store(run).exists() else {})


def evaluation_figures(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of an evaluation over all labels, each with the ends of its interval, by the split and their name.

    The AUC over the pooled scores is among them where it was measured; how many negatives it has belongs to its name.
    """
    split, found = evaluation["data"]["split"], evaluation["evaluation"]
    figures = dict(found["overall"]["figures"])
    auc = found.get("auc")
    if auc is not None and auc["value"] is not None:
        figures[f"AUC (top {auc['top_negatives']:,} negatives)"] = {"value": auc["value"], "low": None, "high": None}
    return {f"{split} {name}": figure for name, figure in figures.items()}


def read_report(path: Path) -> dict[str, Any] | None:
    """A report of a run, None where there is none. Raises: ArtifactError when it is damaged."""
    if not path.is_file():
        return None
    with as_written(path):
        value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise damaged(path, "it is no JSON object")
    return value


@contextlib.contextmanager
def as_written(path: Path) -> Iterator[None]:
    """Take it for damage of this file when the block, which reads it, misses something. Raises: ArtifactError."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, f"it cannot be read ({type(error).__name__})") from error


def named_parts(config: Mapping[str, Any]) -> dict[str, str]:
    """The data, and the plugin's name of each part, as a run was configured."""
    return {section: _name(config.get(section)) for section in NAMED_SECTIONS}


def _name(section: Any) -> str:
    return str(section.get("name", "none")) if isinstance(section, dict) else "none"
