"""Whether an index that is about to become a run's answers as the one whose place it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.data.tables import LabelTable, read_labels
from xmc.errors import ArtifactError
from xmc.retrieve.answering import Lineage
from xmc.retrieve.label_means import LabelMeans, load_means
from xmc.retrieve.layout import index_store
from xmc.retrieve.living_labels import live_labels
from xmc.retrieve.own_vectors import load_own
from xmc.retrieve.run_state import description_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xmc.engine.indexing import IndexedLabels
    from xmc.retrieve.label_edits import LabelEdits


def lineage_of(run: Path, description: Mapping[str, Any], indexed: IndexedLabels) -> Lineage:
    """The lineage of the index that `description` is of; call it when no other writer can commit one.

    Scores stay where encoder, similarity and labels, with the edits, are the same, and both indexes are exact or of the
    same backend and options. Answers stay too where backend and options are the same and either the index is exact or
    no label was edited since the earlier one was built.
    """
    try:
        before = index_store(run).current()
        then = description_of(before)
        labels, own = read_labels([before.folder / "labels.parquet"]), load_own(before.folder)
        means = load_means(before.folder, labels)
    except ArtifactError:  # there is none, or it is damaged: nothing is known of its answers
        return Lineage()
    same_vectors = (
        then["encoder_sha256"] == description["encoder_sha256"]
        and then["report"]["similarity"] == description["report"]["similarity"]
        and indexed.edits.applied(labels) == indexed.labels
        and _same(means, indexed.means, _without_given(indexed.labels, indexed.edits))
    )
    exact = then["report"]["exact"] and description["report"]["exact"]
    same_backend = all(then[key] == description[key] for key in ("name", "options"))
    if not same_vectors or not (exact or same_backend):
        return Lineage()
    earlier = Lineage.from_dict(then)
    same_answers = same_backend and (exact or live_labels(labels, own, indexed.edits) is None)
    return Lineage(
        (*earlier.same_scores, before.sha256), (*earlier.same_answers, before.sha256) if same_answers else ()
    )


def _without_given(labels: LabelTable, edits: LabelEdits) -> LabelTable:
    """The labels that have no given vector, which is theirs before the index is built and after."""
    own = edits.own
    return labels.take(np.array([row for row, i in enumerate(labels.ids) if i not in own], np.int64)) if own else labels


def _same(means: LabelMeans | None, others: LabelMeans | None, labels: LabelTable) -> bool:
    """Whether these labels, moved or not, have the same vectors, bit for bit."""
    moved = [each.of(labels) for each in (means, others) if each]
    if len(moved) < 2:
        return not any(len(each.rows_N) for each in moved)
    return np.array_equal(moved[0].rows_N, moved[1].rows_N) and moved[0].vectors_ND.equal(moved[1].vectors_ND)
