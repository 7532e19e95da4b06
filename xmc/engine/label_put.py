"""What is changed when labels are added, replaced or put: from the edits that are there to those after it.

Shapes: N labels that are given, E width of an index vector.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xmc.counted import counted
from xmc.data.tables import LabelTable
from xmc.encode.csr import take_rows
from xmc.engine.label_state import Base, LabelState
from xmc.errors import DataError
from xmc.retrieve.edit_vectors import with_edits, with_vectors
from xmc.retrieve.label_edits import Edit, LabelEdits
from xmc.retrieve.living_labels import live_labels
from xmc.retrieve.row_file import row_hashes
from xmc.retrieve.trained_model import TrainedModel


@dataclass(frozen=True, eq=False)
class LabelPut:
    """Labels to add (`there` is False), to replace (True) or either (None); with `most_removed` all others go.

    `own_NE` are vectors that were given for them, which take the place of the embedded texts.
    """

    base: Base
    model: TrainedModel
    labels: LabelTable
    own_NE: Tensor | None = None
    there: bool | None = None
    most_removed: float | None = None

    def applied(self, before: LabelEdits) -> tuple[LabelEdits, Collection[str], Collection[str]]:
        """The edits afterwards, and the ids of the labels that are put and that are removed: none where all is equal.

        Raises: DataError when ids are there that should not be, or the other way round, when a head knows trained
        labels only, and when more than the share `most_removed` would go.
        """
        state = LabelState(self.base, before)
        ids, texts = self.labels.ids, self.labels.texts
        if self.there is not None:
            state.require(ids, there=self.there)
        hashes = [""] * len(ids) if self.own_NE is None else row_hashes(self.own_NE)
        rows = self._rows_to_put(state, hashes)
        if self.own_NE is None:
            require_text_vectors(self.model, state, {ids[row]: texts[row] for row in rows})
        new = {ids[row]: Edit(texts[row], -1, hashes[row]) for row in rows}
        gone = [] if self.most_removed is None else _others(state, ids, self.most_removed)
        before.require_encoder(self.model.sha256, replaced={*new, *gone})
        if not new and not gone:
            return before, (), ()
        new_NE = None if self.own_NE is None else take_rows(self.own_NE, torch.tensor(rows, dtype=torch.long))
        after = with_edits(before, {label_id: Edit(None) for label_id in gone}, self.model.sha256)
        after = with_edits(after, new, self.model.sha256, new_NE)
        living = live_labels(self.base.labels, self.base.own, after)
        return with_vectors(after, living, self.model), new, gone

    def _rows_to_put(self, state: LabelState, hashes: Sequence[str]) -> list[int]:
        """Which of the labels are not yet as they are to be.

        Without vectors, where all others are removed, a label keeps a vector that was given for it before.
        """
        # the same vector means another thing to another encoder
        other_encoder = self.own_NE is not None and state.edits.encoder_sha256 != self.model.sha256
        if self.there is not None or other_encoder:
            return list(range(len(self.labels)))
        any_vector = self.own_NE is None and self.most_removed is not None
        given = zip(self.labels.ids, self.labels.texts, hashes, strict=True)
        return [
            row
            for row, (label_id, text, own) in enumerate(given)
            if not state.holds(label_id, text, None if any_vector else own)
        ]


def require_text_vectors(model: TrainedModel, state: LabelState, texts: Mapping[str, str]) -> None:
    """Refuse other texts for labels that have trained vectors; one that was given goes, and the trained one is back."""
    if model.labels_from_text:
        return
    for label_id, text in texts.items():
        now = state.now(label_id)
        if now is not None and now[0] != text and not now[1]:
            raise DataError(
                f"a new text would not change how '{label_id}' is found: this run's head has a trained vector for each "
                "label.",
                hint="Give vectors with the texts, or train again with the new texts.",
            )


def _others(state: LabelState, label_ids: Collection[str], most_removed: float) -> list[str]:
    """The labels that are there and not among these. Raises: DataError when they are more than that share of all."""
    others, count = state.others(label_ids), state.count()
    if len(others) / count > most_removed:  # the share itself: 0.29 * 100 is less than 29
        raise DataError(
            f"this would remove {len(others):,} of the run's {counted(count, 'label')}, more than the "
            "share that may go "
            f"(most_removed, {most_removed:g}).",
            hint="Are all labels in what was given? If it is meant: most_removed=1, or --most-removed 1.",
        )
    return others
