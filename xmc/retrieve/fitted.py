"""What checks have fitted to a run, and whether it still belongs to the encoder and index that are there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.errors import ArtifactError, XmcWarning, quoted
from xmc.retrieve.answering import Answering
from xmc.retrieve.basis import LABEL_COUNT, Basis, count_edited
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
INDEX = "index"  # its entry for the index
LABELS = "labels"  # its entry for the edits of labels since the index was built
CHECKS = {CALIBRATION_KIND: "calibrate", LABEL_SETS_KIND: "conformal"}
FITTED = {CALIBRATION_KIND: "calibration", LABEL_SETS_KIND: "label sets"}
PROMISED = "for labels that were edited since, and promise nothing about others"
WERE = {CALIBRATION_KIND: "was", LABEL_SETS_KIND: "were"}


@dataclass(frozen=True)
class Absence:
    """Why a fitted thing cannot be used, and what to do; `outdated` is why it does not fit the run any more."""

    problem: str
    hint: str
    outdated: str = ""


@dataclass(frozen=True)
class Fitted:
    """The calibration and the label sets of a run; `absences` says of each that is None why.

    `basis` says which labels the calibration was fitted to; `notes` has a sentence for each thing that is still used
    although the labels have changed.
    """

    calibration: Calibration | None = None
    label_sets: LabelSets | None = None
    absences: Mapping[str, Absence] = field(default_factory=dict)
    basis: Basis | None = None
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
        """One sentence for each fitted thing that is there but belongs to another encoder, index or label set."""
        return [f"{absence.problem} {absence.hint}" for absence in self.absences.values() if absence.outdated]

    def outdated(self, kind: str) -> str:
        """For what earlier state `kind` was fitted, in words; empty when it is in use or was never made."""
        absence = self.absences.get(kind)
        return absence.outdated if absence else ""

    def remarks(self) -> list[str]:
        """What `stale` and `notes` say, for those who must not see where the run lies."""
        remarks = [
            f"its {FITTED[kind]} {WERE[kind]} fitted {absence.outdated}; to fit them anew: xmc check {CHECKS[kind]}"
            for kind, absence in self.absences.items()
            if absence.outdated
        ]
        return [*remarks, *([self.basis.sentence] if self.basis and self.basis.sentence else [])]

    def warn(self, *, known: Fitted | None = None) -> None:
        """Warn the caller's caller of what `stale` and `notes` say and those that were `known` before do not."""
        before = [*known.stale(), *known.notes] if known else []
        for sentence in [*self.stale(), *self.notes]:
            if sentence not in before:
                warnings.warn(sentence, XmcWarning, stacklevel=3)

    def _missing(self, kind: str) -> ArtifactError:
        absence = self.absences.get(kind, Absence(f"this retriever has no {kind}.", "Open it with Retriever.load."))
        return ArtifactError(absence.problem, hint=absence.hint)


def read_fitted(run: Path, answering: Answering) -> Fitted:
    """What was fitted to what answers in a run now, and what is carried over from an index it took the place of.

    Labels may have been edited since. A calibration is an estimate and stays in use, with a note; the promise of label
    sets is one for the label set that it was made with, so they are stale then.
    Raises: ArtifactError when it is damaged.
    """
    calibration = _current(run, CALIBRATION_KIND, answering, answering.lineage.same_scores)
    label_sets = _current(run, LABEL_SETS_KIND, answering, answering.lineage.same_answers)
    basis, notes = None, []
    if isinstance(calibration, Version):
        basis = _basis(calibration, answering)
        if basis.sentence:
            notes.append(f"{run}: {basis.sentence} To fit them anew: {_command(run, CALIBRATION_KIND)}")
    if isinstance(label_sets, Version) and _basis(label_sets, answering).edited != 0:
        label_sets = _outdated(run, LABEL_SETS_KIND, PROMISED)
    found = {CALIBRATION_KIND: calibration, LABEL_SETS_KIND: label_sets}
    return Fitted(
        None if isinstance(calibration, Absence) else _parse_calibration(calibration),
        None if isinstance(label_sets, Absence) else _parse_label_sets(label_sets),
        {kind: absence for kind, absence in found.items() if isinstance(absence, Absence)},
        basis,
        tuple(notes),
    )


def _current(run: Path, kind: str, answering: Answering, earlier: Sequence[str]) -> Version | Absence:
    """The version that is there when it was fitted to this model, or to it with one of the `earlier` indexes."""
    store = fitted_store(run, CHECKS[kind], kind)
    if not store.exists():
        return Absence(f"{run} has no {FITTED[kind]}.", f"Make it with: {_command(run, kind)}")
    version = store.current()
    then, now = (_without_labels(model) for model in (version.manifest.facts.get(MODEL), answering.identity))
    changed = [part for part in sorted({*then, *now}) if then.get(part) != now.get(part)]
    if not changed or (changed == [INDEX] and then.get(INDEX) in earlier):
        return version
    return _outdated(run, kind, f"for an earlier {' and '.join(changed)}")


def _basis(version: Version, answering: Answering) -> Basis:
    facts = version.manifest.facts
    then, now = facts[MODEL], answering.identity
    carried = then.get(INDEX) != now.get(INDEX)
    if not carried and then.get(LABELS) == now.get(LABELS):
        edited: int | None = 0
    else:
        edited = count_edited(version.folder, answering.edits)
    return Basis(facts.get(LABEL_COUNT), edited, carried)


def _outdated(run: Path, kind: str, what: str) -> Absence:
    problem = f"the {FITTED[kind]} of {run} {WERE[kind]} fitted {what}."
    return Absence(problem, f"Make it again: {_command(run, kind)}", what)


def _command(run: Path, kind: str) -> str:
    return f"xmc check {CHECKS[kind]} --run {quoted(run)}"


def _without_labels(model: Any) -> dict[str, str]:
    return {part: sha for part, sha in model.items() if part != LABELS} if isinstance(model, Mapping) else {}


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
