"""The trained model of a run, encoder and head committed together, and the label vectors that it makes.

encoder/vNNNNNN/        the encoder, in the layout that `SentenceTransformer(folder)` opens
encoder/vNNNNNN/head/   state.safetensors and labels.parquet, where the head learned something of its own
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import DataError, HeadContext, HeadOptions, QueryMap
from xmc.counted import counted
from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, label_table_to_arrow, read_labels
from xmc.errors import ArtifactError
from xmc.retrieve.label_means import LabelMeans
from xmc.retrieve.layout import encoder_store
from xmc.retrieve.own_vectors import OwnVectors
from xmc.retrieve.run_plugins import recorded_options
from xmc.retrieve.unfinished import require_trained

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import FittedHead
    from xmc.encode.encoder import Encoder
    from xmc.plugin_manager import Plugins
    from xmc.store.versions import Version

HEAD_FOLDER = "head"
STATE_NAME = "state.safetensors"
LABELS_NAME = "labels.parquet"
TRAINING_ONLY = "optimiser."


@dataclass(frozen=True)
class TrainedModel:
    """An opened, verified model; `sha256` identifies it, encoder and head.

    `own` are vectors that the user gave, `means` the labels that their training queries moved in the run's index.
    """

    encoder: Encoder
    folder: Path
    sha256: str
    _head: HeadOptions
    own: OwnVectors | None = None
    means: LabelMeans | None = None

    @property
    def labels_from_text(self) -> bool:
        """Whether any text makes a label: the head learned nothing of labels, at most their queries moved them."""
        return not (self.folder / HEAD_FOLDER).is_dir()

    def label_vectors(self, labels: LabelTable) -> tuple[Iterator[Tensor], QueryMap | None]:
        """Vectors of these labels in chunks, in their order, and the map from embeddings to queries over them.

        Raises: DataError when the head has a vector for each label it was trained with and one of these is not among
        them.
        """
        return self.own.weave(labels, self._own_to_the_model) if self.own else self._own_to_the_model(labels)

    def known_vectors(self, count: int) -> tuple[Iterator[Tensor], QueryMap | None]:
        """Vectors of some labels that the model knows, to see of what kind they are."""
        if self.labels_from_text:
            return self._head_vectors(LabelTable(["any"] * count, ["any"] * count))
        known = self._known_labels()
        return self._head_vectors(known.take(np.arange(min(count, len(known)))))

    def _known_labels(self) -> LabelTable:
        return read_labels([self.folder / HEAD_FOLDER / LABELS_NAME])

    def _own_to_the_model(self, labels: LabelTable) -> tuple[Iterator[Tensor], QueryMap | None]:
        chunks, query_map = self._head_vectors(labels)
        return (self.means.over(labels, chunks) if self.means else chunks), query_map

    def _head_vectors(self, labels: LabelTable) -> tuple[Iterator[Tensor], QueryMap | None]:
        head, label_rows = self._open_head(labels)
        return head.label_vectors(label_rows), head.query_map()

    def _open_head(self, labels: LabelTable) -> tuple[FittedHead, np.ndarray[Any, Any]]:
        from safetensors.torch import load_file

        folder = self.folder / HEAD_FOLDER
        if self.labels_from_text:
            return self._build(labels), np.arange(len(labels))
        known = self._known_labels()
        row_of_id = {label_id: row for row, label_id in enumerate(known.ids)}
        _require_among(row_of_id, labels.ids)
        head = self._build(known)
        head.load_state(load_file(folder / STATE_NAME))
        return head, np.array([row_of_id[label_id] for label_id in labels.ids], dtype=np.int64)

    def _build(self, labels: LabelTable) -> FittedHead:
        from xmc.encode.encoder import device_of

        encoder = self.encoder
        return self._head.build(
            HeadContext(
                labels=len(labels),
                dimension=encoder.dimension,
                similarity=encoder.similarity,
                encoder=encoder,
                label_features=encoder.prepare(labels.texts, "label"),
                device=str(device_of(encoder)),
            )
        )


def _require_among(known: Container[str], label_ids: Sequence[str]) -> None:
    unknown = [label_id for label_id in label_ids if label_id not in known]
    if unknown:
        labels = counted(len(unknown), f"label, '{unknown[0]}', was", f"labels, such as '{unknown[0]}', were")
        raise DataError(
            f"{labels} not there in training, and this run's head only has vectors for those that were.",
            hint="Train again with them, or use the head 'dual-encoder', which embeds any label's text.",
        )


def commit_model(
    run: Path,
    encoder: Encoder,
    head: FittedHead,
    labels: LabelTable,
    *,
    encoder_section: Mapping[str, Any],
    head_section: Mapping[str, Any],
) -> None:
    """Commit encoder and head as the run's model; the sections are those of the configuration."""
    from safetensors.torch import save_file

    facts = {**_facts(encoder_section), "head": _facts(head_section)}
    with encoder_store(run).new_version(facts=facts) as folder:
        encoder.save(folder)
        state = {name: value for name, value in head.state().items() if not name.startswith(TRAINING_ONLY)}
        if state:
            (folder / HEAD_FOLDER).mkdir()
            save_file({name: value.contiguous() for name, value in state.items()}, folder / HEAD_FOLDER / STATE_NAME)
            write_table(folder / HEAD_FOLDER / LABELS_NAME, label_table_to_arrow(labels))


def _facts(section: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": section["name"], "options": {key: value for key, value in section.items() if key != "name"}}


def load_model(run: Path, *, plugins: Plugins) -> TrainedModel:
    """Open the trained model of a run.

    Raises: ArtifactError when there is none or it is damaged or holds non-finite weights.
    """
    require_trained(run)
    return encoder_store(run).parse_current(partial(_read_model, plugins))


def _read_model(plugins: Plugins, version: Version) -> TrainedModel:
    import torch

    facts = version.manifest.facts
    options = recorded_options(plugins, "encoder", facts)
    encoder: Encoder = options.load(version.folder)
    encoder.module.eval()
    if not all(bool(torch.isfinite(parameter).all()) for parameter in encoder.module.parameters()):
        raise ArtifactError(f"the encoder in {version.folder} has weights that are not finite.", hint="Train it again.")
    head = facts["head"]
    head_options = recorded_options(plugins, "head", head)
    return TrainedModel(encoder, version.folder, version.sha256, head_options)
