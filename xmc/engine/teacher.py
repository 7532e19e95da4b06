"""The teacher of a run, as `[teacher]` names it: scores of the training queries' shortlists, vectors of the labels.

teacher/scores-00000.arrow …   hits: query id, label ids, scores (float16)
teacher/labels.parquet         the labels that have a vector, in the order of
teacher/vectors.safetensors    their vectors
A table of hits alone is a teacher too, one without vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xmc.counted import counted
from xmc.data.dataset import Dataset
from xmc.data.shards import find_shards
from xmc.data.tables import read_labels
from xmc.data.teacher_table import read_teacher_scores
from xmc.errors import ConfigError, DataError
from xmc.home import home_expanded
from xmc.retrieve.row_file import load_rows
from xmc.store import sha256_of, verify_folder
from xmc.store.manifest import MANIFEST_NAME
from xmc.train.schedule import Pool
from xmc.values import Hits

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.engine.run_config import RunConfig

KIND = "teacher"
SCORES_PATTERN = "scores-*.arrow"
LABELS_NAME = "labels.parquet"
VECTORS_NAME = "vectors.safetensors"


@dataclass(frozen=True)
class Teacher:
    """What lies at `[teacher] path`, verified; `sha256` identifies it."""

    path: Path
    shards: Sequence[Path]
    sha256: str
    has_vectors: bool

    def scores(self, data: Dataset, pool: Pool) -> Hits:
        """The shortlist of each training query; the label texts that may join them have none. Raises: DataError."""
        train = data.train
        hits = read_teacher_scores(self.shards, train.ids, data.labels.ids, train.positives)
        if not pool.drawn:
            return hits
        none = np.full(len(data.labels), hits.offsets[-1])
        return Hits(np.concatenate((hits.offsets, none)), hits.label_rows, hits.scores)

    def vectors(self, data: Dataset) -> Tensor | None:
        """The vectors of the data set's labels, in their order; None when there are none. Raises: DataError."""
        import torch

        if not self.has_vectors:
            return None
        row_of = {label_id: row for row, label_id in enumerate(read_labels([self.path / LABELS_NAME]).ids)}
        missing = [label_id for label_id in data.labels.ids if label_id not in row_of]
        if missing:
            labels = counted(len(missing), "label of the data set has", "labels of the data set have")
            raise DataError(
                f"{self.path}: {labels} no vector, such as '{missing[0]}'.",
                hint="Let the teacher read this data set: xmc teach",
            )
        vectors_LE = load_rows(self.path / VECTORS_NAME)
        if vectors_LE is None or not bool(torch.isfinite(vectors_LE).all()):
            raise DataError(f"{self.path / VECTORS_NAME}: the vectors are not finite numbers.", hint="Make them again.")
        return vectors_LE[torch.tensor([row_of[label_id] for label_id in data.labels.ids])]


def needs_of(config: RunConfig) -> frozenset[str]:
    """What loss and head say that they need."""
    parts = (config.loss.options, config.head.options)
    return frozenset(name for part in parts for name in getattr(part, "needs", ()))


def open_teacher(config: RunConfig) -> Teacher | None:
    """The teacher of a configuration, None when it names none.

    Raises: ConfigError when loss or head need one and there is none, and when neither makes use of the one there is;
    ArtifactError for a damaged folder; DataError when there is nothing at the path.
    """
    wanted = needs_of(config) & {"teacher", "teacher_vectors"}
    if not config.teacher.path:
        if "teacher" in wanted:
            raise ConfigError(
                f"the loss '{config.loss.name}' learns from a teacher, and [teacher] names none.",
                hint="Let one score the training queries with `xmc teach`, and set teacher.path to its folder.",
            )
        return None
    if not wanted:
        raise ConfigError(
            f"[teacher] path is '{config.teacher.path}', but neither the loss '{config.loss.name}' nor the head "
            f"'{config.head.name}' makes use of a teacher.",
            hint="Take a loss such as distill.nkd, or the head 'frozen', or leave teacher.path empty.",
        )
    path = home_expanded(config.teacher.path)
    if (path / MANIFEST_NAME).is_file():
        verify_folder(path, kind=KIND)
        shards = sorted(path.glob(SCORES_PATTERN))
        return Teacher(path, shards, sha256_of(path / MANIFEST_NAME), (path / VECTORS_NAME).is_file())
    shards = find_shards(path)
    together = hashlib.sha256("".join(sha256_of(shard) for shard in shards).encode())
    return Teacher(path, shards, together.hexdigest(), has_vectors=False)
