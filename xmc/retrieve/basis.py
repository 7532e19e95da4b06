"""The labels that something was fitted to, and how many of them were edited since."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.data.shards import read_table, write_table

if TYPE_CHECKING:
    from xmc.retrieve.label_edits import Edit, LabelEdits

BASIS_FILE = "label-edits.parquet"
LABEL_COUNT = "label_count"  # the fact that says how many labels there were
SOME = "some labels were edited after its probabilities were fitted; they are still used, and new labels share them."
BY_SHARE = (
    (
        1.0,
        "more labels were edited after its probabilities were fitted than there were then; neither they nor what "
        "min_probability leaves out can be relied on.",
    ),
    (
        0.5,
        "at least half of the labels were edited after its probabilities were fitted; they are likely off by now, and "
        "so is what min_probability leaves out.",
    ),
    (0.1, "at least a tenth of the labels were edited after its probabilities were fitted; they may be off by now."),
)


@dataclass(frozen=True)
class Basis:
    """`labels` that there were when something was fitted, and how many were `edited` since (None: not known).

    A label that was added and removed again counts as edited. `carried` says that the index was built anew since.
    """

    labels: int | None
    edited: int | None
    carried: bool = False

    @property
    def sentence(self) -> str:
        """What this means for probabilities, empty when no label was edited; the same words as the number grows a bit.

        >>> Basis(60, 3000).sentence == Basis(60, 60).sentence, Basis(60, 0).sentence
        (True, '')
        """
        if self.edited == 0:
            return ""
        if self.edited is None or not self.labels:
            return SOME
        share = self.edited / self.labels
        return next((sentence for least, sentence in BY_SHARE if share >= least), SOME)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def save_basis(folder: Path, edits: LabelEdits) -> None:
    """Write which labels were edited by now, and to what, into a folder that is not committed yet."""
    import pyarrow as pa

    ids = sorted(edits.edits)
    states = [_state(edits.edits[label_id]) for label_id in ids]
    write_table(folder / BASIS_FILE, pa.table({"label_id": pa.array(ids, pa.string()), "state": states}))


def count_edited(folder: Path, edits: LabelEdits) -> int | None:
    """How many labels were edited since `save_basis`; None where it was never called and some were edited at all."""
    if not (folder / BASIS_FILE).is_file():
        return None if edits.edits else 0
    table = read_table(folder / BASIS_FILE)
    then = dict(zip(table.column("label_id").to_pylist(), table.column("state").to_pylist(), strict=True))
    return sum(label_id not in then or then[label_id] != _state(edit) for label_id, edit in edits.edits.items())


def _state(edit: Edit) -> str:
    """A short name for what holds of a label: its vector or text, empty when it is removed."""
    return "" if edit.text is None else edit.own or sha256(edit.text.encode()).hexdigest()[:16]
