"""What checks have fitted to a run, and whether it still belongs to the encoder and index that are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.errors import ArtifactError
from xmc.retrieve.layout import fitted_store
from xmc.store.manifest import damaged
from xmc.store.versions import Version

if TYPE_CHECKING:
    from xmc.retrieve.calibration import Calibration
    from xmc.retrieve.label_sets import LabelSets

CALIBRATION_KIND = "calibration"
CALIBRATION_FILE = "calibration.json"
LABEL_SETS_KIND = "label-sets"
LABEL_SETS_FILE = "label-sets.json"
MODEL = "model"  # the fact that names the encoder and index that something was fitted to
LABELS = "labels"  # its entry for the edits of labels since the index was built


@dataclass(frozen=True)
class Absence:
    """Why a fitted thing cannot be used, and what to do; `stale` when it is there but no longer fits the run."""

    problem: str
    hint: str
    stale: bool = False


@dataclass(frozen=True)
class Fitted:
    """The calibration and the label sets of a run; `absences` says of each that is None why.

    `notes` say of what is used in spite of something what that is.
    """

    calibration: Calibration | None = None
    label_sets: LabelSets | None = None
    absences: Mapping[str, Absence] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def require_calibration(self) -> Calibration:
        """The calibration. Raises: ArtifactError, with what to do, when there is none for this encoder and index."""
        if self.calibration is None:
            raise self._missing(CALIBRATION_KIND)
        return self.calibration

    def require_label_sets(self) -> LabelSets:
        """The label sets. Raises: ArtifactError, with what to do, when there are none for this encoder and index."""
        if self.label_sets is None:
            raise self._missing(LABEL_SETS_KIND)
        return self.label_sets

    def stale(self) -> list[str]:
        """One sentence for each fitted thing that is there but belongs to another encoder or index."""
        return [f"{absence.problem} {absence.hint}" for absence in self.absences.values() if absence.stale]

    def _missing(self, kind: str) -> ArtifactError:
        absence = self.absences.get(kind, Absence(f"this retriever has no {kind}.", "Open it with Retriever.load."))
        return ArtifactError(absence.problem, hint=absence.hint)


def read_fitted(run: Path, model: Mapping[str, str]) -> Fitted:
    """What was fitted to this `model` (the SHA-256 of its parts) in a run.

    Labels may have been edited since. A calibration is an estimate and stays in use, with a note; the promise of label
    sets is one for the label set that it was made with, so they are stale then.
    Raises: ArtifactError when it is damaged.
    """
    calibration = _current(run, CALIBRATION_KIND, "calibrate", model)
    label_sets = _current(run, LABEL_SETS_KIND, "conformal", model)
    notes = []
    if isinstance(calibration, Version) and _was_edited(calibration, model):
        notes.append(
            f"the labels of {run} were edited after its probabilities were fitted; they are still used, and new labels "
            f"share them. To fit them anew: xmc check calibrate --run {run}"
        )
    if isinstance(label_sets, Version) and _was_edited(label_sets, model):
        label_sets = Absence(
            f"the labels of {run} were edited after its {LABEL_SETS_KIND} were made, whose promise is for the labels "
            "that were there.",
            f"Make them again: xmc check conformal --run {run}",
            stale=True,
        )
    found = {CALIBRATION_KIND: calibration, LABEL_SETS_KIND: label_sets}
    return Fitted(
        None if isinstance(calibration, Absence) else _parse_calibration(calibration),
        None if isinstance(label_sets, Absence) else _parse_label_sets(label_sets),
        {kind: absence for kind, absence in found.items() if isinstance(absence, Absence)},
        tuple(notes),
    )


def _current(run: Path, kind: str, check: str, model: Mapping[str, str]) -> Version | Absence:
    store, command = fitted_store(run, check, kind), f"xmc check {check} --run {run}"
    if not store.exists():
        return Absence(f"{run} has no {kind}.", f"Make it with: {command}")
    version = store.current()
    if _without_labels(version.manifest.facts.get(MODEL)) != _without_labels(model):
        problem = f"the {kind} of {run} belongs to another encoder or index than those that are there now."
        return Absence(problem, f"Make it again: {command}", stale=True)
    return version


def _without_labels(model: Any) -> Any:
    return {part: sha for part, sha in model.items() if part != LABELS} if isinstance(model, Mapping) else model


def _was_edited(version: Version, model: Mapping[str, str]) -> bool:
    return bool(version.manifest.facts[MODEL].get(LABELS) != model.get(LABELS))


def _parse_calibration(version: Version) -> Calibration:
    from xmc.retrieve.calibration import Calibration

    return Calibration.from_dict(_read(version.folder / CALIBRATION_FILE))


def _parse_label_sets(version: Version) -> LabelSets:
    import numpy as np

    from xmc.data.shards import read_table
    from xmc.retrieve.label_sets import LabelSets, RiskCurve

    facts = _read(version.folder / LABEL_SETS_FILE)
    curves = {}
    for risk, missing in facts["missing"].items():
        table = read_table(version.folder / f"{risk}.parquet")
        steps = [np.asarray(table.column(name), np.float64) for name in ("cut_off", "risk")]
        curves[risk] = RiskCurve(facts["queries"], missing, *steps)
    return LabelSets(facts["scored_by"], facts["most_labels"], curves)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, f"it cannot be read ({type(error).__name__})") from error
