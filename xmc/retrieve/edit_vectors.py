"""The vectors that edits keep: merged with new edits, made for labels that the index lacks, dropped when it has them.

Shapes: N vectors, E width of an index vector.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import eq
from typing import TYPE_CHECKING

import numpy as np
import torch

from xmc.data.tables import LabelTable
from xmc.encode.csr import concatenate_rows, take_rows
from xmc.retrieve.label_edits import Edit, LabelEdits
from xmc.retrieve.living_labels import LivingLabels

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.retrieve.trained_model import TrainedModel


def with_edits(
    before: LabelEdits, new: Mapping[str, Edit], encoder_sha256: str, own_NE: Tensor | None = None
) -> LabelEdits:
    """The edits with new ones, whose vectors are `own_NE`, in their order, where given.

    Vectors that were made by another model than `encoder_sha256` are dropped.
    """
    same = before.encoder_sha256 == encoder_sha256
    if same and not new:
        return replace(before, sha256="", first={})
    kept = {label_id: edit for label_id, edit in before.edits.items() if label_id not in new}
    rows = [edit.row for edit in kept.values() if edit.row >= 0] if same else []
    parts: list[Tensor] = []
    if rows and before.vectors_NE is not None:
        parts.append(_taken(before.vectors_NE, rows))
    place_of = {row: place for place, row in enumerate(rows)}
    edits = {
        label_id: edit if place_of.get(edit.row, -1) == edit.row else edit._replace(row=place_of.get(edit.row, -1))
        for label_id, edit in kept.items()
    }
    if own_NE is not None:
        parts.append(own_NE)
        new = {label_id: edit._replace(row=len(rows) + row) for row, (label_id, edit) in enumerate(new.items())}
    vectors_NE = _joined(parts)
    return LabelEdits({**edits, **new}, vectors_NE, encoder_sha256)


def _taken(vectors_NE: Tensor, rows: Sequence[int]) -> Tensor:
    """These rows; all of them in their order are the vectors themselves, which are not copied."""
    if len(rows) == vectors_NE.shape[0] and all(map(eq, rows, range(len(rows)))):
        return vectors_NE
    return take_rows(vectors_NE, torch.tensor(rows))


def _joined(parts: Sequence[Tensor]) -> Tensor | None:
    """The vectors one below the other, None for none at all; a single part is not copied."""
    if len(parts) <= 1:
        return parts[0] if parts else None
    return concatenate_rows(parts, dimension=parts[0].shape[1])


def with_vectors(edits: LabelEdits, living: LivingLabels | None, model: TrainedModel) -> LabelEdits:
    """The edits with a vector for each label that the index lacks, and without those of labels that it has.

    Raises: DataError for a label that the model has no vector for.
    """
    added = living.added if living else LabelTable([], [])
    lacking = added.take(np.array([row for row, i in enumerate(added.ids) if edits.edits[i].row < 0], dtype=np.int64))
    wanted = set(added.ids) | set(edits.own)
    kept = [label_id for label_id, edit in edits.edits.items() if edit.row >= 0 and label_id in wanted]
    parts: list[Tensor] = []
    if kept and edits.vectors_NE is not None:
        parts.append(_taken(edits.vectors_NE, [edits.edits[label_id].row for label_id in kept]))
    if len(lacking):
        parts += list(model.label_vectors(lacking)[0])
    row_of = {label_id: row for row, label_id in enumerate([*kept, *lacking.ids])}
    after = {i: Edit(edit.text, row_of.get(i, -1), edit.own) for i, edit in edits.edits.items()}
    vectors_NE = _joined(parts)
    return LabelEdits(after, vectors_NE, edits.encoder_sha256)


def without_direction(edits: LabelEdits, label_ids: Collection[str]) -> list[str]:
    """Those of these labels whose kept vector is zero: the model knows no word of their texts."""
    kept = [label_id for label_id in label_ids if edits.edits[label_id].row >= 0]
    if not kept or edits.vectors_NE is None:
        return []
    vectors_NE = take_rows(edits.vectors_NE, torch.tensor([edits.edits[label_id].row for label_id in kept]))
    if vectors_NE.layout == torch.sparse_csr:
        zero_N = vectors_NE.crow_indices().diff() == 0
    else:
        zero_N = (vectors_NE == 0).all(dim=1)
    return [kept[row] for row in zero_N.nonzero().flatten().tolist()]
