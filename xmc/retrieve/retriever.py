"""Load a trained run and search it: the embedded form of xmc."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import ConfigError, DataError, Hits, IndexReport, QueryMap
from xmc.errors import ArtifactError
from xmc.retrieve.layout import index_store
from xmc.retrieve.query_map import load_query_map
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.values import Hit

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index
    from xmc.data.tables import LabelTable
    from xmc.encode.encoder import Encoder
    from xmc.plugin_manager import Plugins

MAX_K = 10_000
MAX_TEXT_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Retriever:
    """A trained encoder with the index over its labels. Immutable and safe to search from several threads.

    `labels` are sorted by label id, which is what makes equal scores come in the order of their ids.
    """

    model: TrainedModel
    index: Index
    labels: LabelTable
    query_map: QueryMap | None = None

    @property
    def encoder(self) -> Encoder:
        """The text encoder."""
        return self.model.encoder

    @classmethod
    def load(cls, run: str | Path, *, device: str = "auto", plugins: Plugins | None = None) -> Retriever:
        """Open the run that `xmc train` made; every file is verified before it is read.

        `device` is `auto`, `cpu` or `cuda`. Raises: ArtifactError when the folder is not a run, is half or damaged, or
        when its index was built with another encoder; PluginError when it needs a plugin that is not installed.
        """
        from xmc.data.tables import read_labels
        from xmc.plugin_manager import load_plugins

        run = Path(run)
        if not run.is_dir():
            raise ArtifactError(f"there is no run folder {run}.", hint="Make one with: xmc train --out " + str(run))
        plugins = plugins or load_plugins()
        model = load_model(run, plugins=plugins)
        version = index_store(run).current()
        description = json.loads((version.folder / "index.json").read_text(encoding="utf-8"))
        if description["encoder_sha256"] != model.sha256:
            raise ArtifactError(
                f"the index of {run} was built with another encoder than the one that is there now.",
                hint=f"Build it again: xmc index --run {run}",
            )
        backend = plugins.find("index", description["name"]).spec.load()(**description["options"])
        index = backend.load(version.folder / "backend", device=device)
        labels = read_labels([version.folder / "labels.parquet"])
        return cls(model, index, labels, load_query_map(version.folder))

    def search(self, texts: Sequence[str], *, k: int = 10) -> list[list[Hit]]:
        """The best k labels of each text, best first; fewer when there are fewer labels.

        Raises: DataError for a text that is not a non-blank string, ConfigError for k outside 1..10,000.
        """
        hits = self.search_embeddings(self.encode(texts), k=k)
        return [self._named(label_rows, scores) for label_rows, scores in hits]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Query embeddings (Q, D) of texts.

        Raises: DataError naming the first text that is not a non-blank string of valid Unicode.
        """
        from xmc.encode.encoder import embed_texts

        check_texts(texts)
        return embed_texts(self.encoder, texts, "query")

    def search_embeddings(self, queries_QD: Tensor, *, k: int = 10) -> Hits:
        """The best k label rows of each query embedding (rows of `labels`)."""
        import numpy as np
        import torch

        if not 1 <= k <= MAX_K:
            raise ConfigError(f"k must lie in 1..{MAX_K}, got {k}.")
        if self.query_map is None:
            return self.index.search(queries_QD, k)
        hits = self.index.search(self.query_map.queries(queries_QD), k)
        offsets_H = self.query_map.offsets(queries_QD).repeat_interleave(torch.from_numpy(np.diff(hits.offsets)))
        return replace(hits, scores=hits.scores + offsets_H.float().numpy())

    @property
    def report(self) -> IndexReport:
        """What the index is."""
        return self.index.report

    def _named(self, label_rows: Any, scores: Any) -> list[Hit]:
        return [
            Hit(rank, self.labels.ids[row], self.labels.texts[row], score)
            for rank, (row, score) in enumerate(zip(label_rows.tolist(), scores.tolist(), strict=True), start=1)
        ]


def check_texts(texts: Sequence[str]) -> None:
    """Refuse queries that no encoder can read.

    Raises: DataError naming the first text that is not a non-blank string of valid Unicode, or is too long.
    """
    if isinstance(texts, str):
        raise DataError("texts must be a list of strings, got one string.", hint="Write search([text]).")
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            shown = "an empty text" if isinstance(text, str) else repr(text)[:60]
            raise DataError(f"query {row} is {shown}; a query must be a text with at least one character.")
        if len(text) > MAX_TEXT_CHARACTERS:
            raise DataError(f"query {row} has {len(text):,} characters; at most {MAX_TEXT_CHARACTERS:,} are allowed.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"query {row} is not valid Unicode: {error.reason}.") from None
