"""What was done to the labels of a run since it was trained: one entry for each label that was ever touched.

labels/vNNNNNN/edits.parquet         label_id, text (null: removed), vector_row (-1: none), own_sha256
labels/vNNNNNN/first.parquet         label_id, text (null: it was not there) of each of them before its first edit
labels/vNNNNNN/vectors.safetensors   the vectors of labels that the index of the time lacked, and all that were given

Every version holds all of it, and nothing is ever taken out. So the label set is (labels of an index) with (edits)
applied, whichever of the earlier edits that index was built with already: no version refers to another folder. And
what the labels were in an earlier version is told by that version and `first` of the newest one.
Shapes: N kept vectors, E width of an index vector.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xmc.counted import counted
from xmc.data.shards import read_table, write_table
from xmc.data.tables import LabelTable
from xmc.errors import ArtifactError
from xmc.retrieve.layout import labels_store
from xmc.retrieve.row_file import load_rows, save_rows

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.store.versions import Version

EDITS_FILE = "edits.parquet"
FIRST_FILE = "first.parquet"
VECTORS_FILE = "vectors.safetensors"
ENCODER = "encoder_sha256"


class Edit(NamedTuple):
    """What holds for one label id: its text, None when it is removed.

    `row` is that of its vector among the kept ones, -1 for none; `own` is the SHA-256 of a vector that was given and
    is not that of the text, else empty.
    """

    text: str | None
    row: int = -1
    own: str = ""


@dataclass(frozen=True, eq=False)
class LabelEdits:
    """All edits of a run, by label id; the vectors were made by, or given for, the model `encoder_sha256`.

    `first` has the text of each label before its first edit, None for one that was not there; it lacks labels that were
    edited by an xmc that did not keep it.
    """

    edits: Mapping[str, Edit] = field(default_factory=dict)
    vectors_NE: Tensor | None = None
    encoder_sha256: str = ""
    sha256: str = ""
    first: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, Edit]:
        """The labels that have a vector of their own."""
        return {label_id: edit for label_id, edit in self.edits.items() if edit.own}

    @property
    def removed(self) -> set[str]:
        """The ids that are removed."""
        return {label_id for label_id, edit in self.edits.items() if edit.text is None}

    def applied(self, labels: LabelTable) -> LabelTable:
        """The labels with the edits, in the order of their ids (by code point)."""
        if not self.edits:
            return labels
        texts: dict[str, str | None] = dict(zip(labels.ids, labels.texts, strict=True))
        texts |= {label_id: edit.text for label_id, edit in self.edits.items()}
        kept = sorted((label_id, text) for label_id, text in texts.items() if text is not None)
        return LabelTable([label_id for label_id, _ in kept], [text for _, text in kept])

    def require_encoder(self, encoder_sha256: str, *, replaced: Collection[str] = ()) -> None:
        """Refuse vectors that were given for another model, but for those of labels that are `replaced`.

        Raises: ArtifactError naming the first label.
        """
        own = self.own.keys() - set(replaced)
        if own and self.encoder_sha256 != encoder_sha256:
            labels = counted(len(own), f"label, '{min(own)}', has", f"labels, such as '{min(own)}', have")
            raise ArtifactError(
                f"{labels} vectors that were given for another encoder than the one that is there now.",
                hint="Remove these labels, or give all of them in one edit vectors for this one, or their texts: xmc "
                "labels export FILE, then xmc labels put FILE",
            )


def read_edits(run: Path) -> LabelEdits:
    """The edits of a run, verified; none for a run whose labels were never edited.

    Raises: ArtifactError when they are damaged.
    """
    store = labels_store(run)
    return store.parse_current(parse_edits) if store.exists() else LabelEdits()


def parse_edits(version: Version) -> LabelEdits:
    """The edits in a verified version."""
    table = read_table(version.folder / EDITS_FILE)
    columns = (table.column(name).to_pylist() for name in ("label_id", "text", "vector_row", "own_sha256"))
    edits = {label_id: Edit(text, row, own) for label_id, text, row, own in zip(*columns, strict=True)}
    first: dict[str, str | None] = {}
    if (version.folder / FIRST_FILE).is_file():
        known = read_table(version.folder / FIRST_FILE)
        first = dict(zip(known.column("label_id").to_pylist(), known.column("text").to_pylist(), strict=True))
    vectors_NE = load_rows(version.folder / VECTORS_FILE)
    return LabelEdits(edits, vectors_NE, str(version.manifest.facts[ENCODER]), version.sha256, first)


def save_edits(folder: Path, edits: LabelEdits) -> None:
    """Write the edits into a folder that is not committed yet."""
    import pyarrow as pa

    rows: list[tuple[str, Edit]] = sorted(edits.edits.items())
    columns: dict[str, Any] = {
        "label_id": pa.array([label_id for label_id, _ in rows], pa.string()),
        "text": pa.array([edit.text for _, edit in rows], pa.large_string()),
        "vector_row": pa.array([edit.row for _, edit in rows], pa.int32()),
        "own_sha256": pa.array([edit.own for _, edit in rows], pa.string()),
    }
    write_table(folder / EDITS_FILE, pa.table(columns))
    first = sorted(edits.first.items())
    columns = {
        "label_id": pa.array([label_id for label_id, _ in first], pa.string()),
        "text": pa.array([text for _, text in first], pa.large_string()),
    }
    write_table(folder / FIRST_FILE, pa.table(columns))
    save_rows(folder / VECTORS_FILE, edits.vectors_NE)
