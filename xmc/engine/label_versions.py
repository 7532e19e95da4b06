"""The versions of a run's edited labels that are still there, and the edits that lead back to one of them.

History is never rewritten: what was gone back to is committed anew, after all other versions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.counted import counted
from xmc.engine.label_state import Base, LabelState
from xmc.errors import ArtifactError, DataError, quoted
from xmc.retrieve.label_edits import Edit, LabelEdits, parse_edits, read_edits
from xmc.retrieve.layout import labels_store
from xmc.store.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

BEFORE_EDITS = "v000000"
KEPT = 10  # versions of the labels, the current one among them
KEPT_BYTES = 2**30  # of those before the current one; the last of them stays whatever it takes


@dataclass(frozen=True)
class LabelsVersion:
    """A version of a run's labels: the `change` that made it `at` a time in UTC, how many labels it `changed`.

    `labels` is how many there were afterwards. What is not known is empty or None: for the state before the first edit,
    for damaged versions, and for those of an xmc that did not note it.
    """

    version: str
    at: str
    change: str
    changed: int | None
    labels: int | None
    current: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def versions_of(run: Path, base: Base) -> list[LabelsVersion]:
    """All versions that are there, oldest first; none for a run whose labels were never edited.

    Files are not verified. Raises: ArtifactError when the current version is damaged.
    """
    store = labels_store(run)
    if not store.exists():
        return []
    edits, names = read_edits(run), store.names()
    manifests = {name: _manifest(store.root / name) for name in names}
    names = [name for name in names if (store.root / name).is_dir()]  # a writer may have removed some meanwhile
    found = []
    if edits.edits.keys() == edits.first.keys():
        start = LabelState(base, LabelEdits({label_id: Edit(text) for label_id, text in edits.first.items()}))
        found.append(LabelsVersion(BEFORE_EDITS, "", "before the first edit", None, start.count(), current=False))
    for name, after in zip(names, [*names[1:], ""], strict=True):
        manifest = manifests[name]
        if manifest is not None and after and manifest == manifests[after]:
            continue  # the first edit is there twice
        facts: Mapping[str, Any] = {"change": "damaged"} if manifest is None else manifest.facts
        noted = (facts.get("at", ""), facts.get("change", ""), facts.get("changed"), facts.get("labels"))
        found.append(LabelsVersion(name, *noted, current=not after))
    return found


def edits_in(run: Path, version: str) -> LabelEdits:
    """The edits in a version by name, verified; it is there as long as its writer's lock is held.

    Raises: DataError naming those that are there; ArtifactError when it is damaged.
    """
    if version == BEFORE_EDITS:
        return LabelEdits()
    store = labels_store(run)
    names = store.names() if store.exists() else []
    if version not in names:
        raise DataError(
            f"there is no version '{version}' of the labels of {run}, or no more: the last {KEPT} are kept, and fewer "
            "of large ones.",
            hint=f"There are: {', '.join([BEFORE_EDITS, *names])} (see: xmc labels versions --run {quoted(run)})",
        )
    return parse_edits(store.version(version))


def edits_back(now: LabelEdits, then: LabelEdits, *, version: str, encoder_sha256: str) -> dict[str, Edit]:
    """The edits that make every label what it was `then`: one for each label that differs now.

    Their rows are rows of the vectors of `then`, -1 for a vector that another encoder has made.
    Raises: DataError for a label whose earlier state is not known, or whose vector was given for another encoder.
    """
    unknown = now.edits.keys() - then.edits.keys() - now.first.keys()
    if unknown:
        labels = counted(len(unknown), f"label, '{min(unknown)}', was", f"labels, such as '{min(unknown)}', were")
        raise DataError(
            f"what {labels} in {version} is not known: an earlier xmc, which did not keep it, made the edit.",
            hint="Go back to a later version, or put the labels as they were: xmc labels sync FILE",
        )
    same = then.encoder_sha256 == encoder_sha256
    back = {}
    for label_id, edit in now.edits.items():
        was = then.edits.get(label_id) or Edit(now.first[label_id])
        if (was.text, was.own) != (edit.text, edit.own):
            back[label_id] = was if same else was._replace(row=-1)
    if not same and (own := [label_id for label_id, was in back.items() if was.own]):
        labels = counted(len(own), f"label, '{min(own)}', has", f"labels, such as '{min(own)}', have")
        raise DataError(
            f"{labels} vectors in {version} that were given for another encoder than the one that is there now.",
            hint="Go back to a later version, or put the labels as they were, with vectors for this encoder.",
        )
    return back


def _manifest(folder: Path) -> Manifest | None:
    """The manifest of a version, None when it cannot be read."""
    try:
        return read_manifest(folder)
    except ArtifactError:
        return None
