"""Load a trained run and search it: the embedded form of xmc."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import ConfigError, DataError, Hits, IndexReport, QueryMap, RerankQueries
from xmc.errors import ArtifactError
from xmc.retrieve.fitted import Fitted, read_fitted
from xmc.retrieve.layout import index_store
from xmc.retrieve.query_map import load_query_map
from xmc.retrieve.reranking import Reranking, load_reranking
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.values import Hit

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index
    from xmc.data.tables import LabelTable
    from xmc.encode.encoder import Encoder
    from xmc.plugin_manager import Plugins
    from xmc.retrieve.label_sets import Risk

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
    reranking: Reranking | None = None
    fitted: Fitted = field(default_factory=Fitted)
    index_sha256: str = ""

    @property
    def encoder(self) -> Encoder:
        """The text encoder."""
        return self.model.encoder

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        plugins: Plugins | None = None,
        reranked: bool = True,
        index: Index | None = None,
    ) -> Retriever:
        """Open the run that `xmc train` made; every file is verified before it is read.

        `device` is `auto`, `cpu` or `cuda`; `reranked=False` leaves out the second stage of a run that has one; `index`
        stands in for the run's own, which is then not loaded (its parts are held by other processes, say).
        Raises: ArtifactError when the folder is not a run, is half or damaged, or when its index or reranker was made
        for another encoder; PluginError when it needs a plugin that is not installed.
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
        index = index or backend.load(version.folder / "backend", device=device)
        labels = read_labels([version.folder / "labels.parquet"])
        reranking = None
        if reranked:
            expected = description.get("reranker", "none")
            reranking = load_reranking(run, model.sha256, labels, expected=expected, plugins=plugins)
        query_map = load_query_map(version.folder)
        opened = cls(model, index, labels, query_map, reranking, index_sha256=version.sha256)
        return replace(opened, fitted=read_fitted(run, opened.identity))

    @property
    def identity(self) -> dict[str, str]:
        """What makes the scores: the SHA-256 of encoder (with head), index and reranker (where there is one)."""
        parts = {"encoder": self.model.sha256, "index": self.index_sha256}
        return parts | {"reranker": self.reranking.sha256} if self.reranking else parts

    def search(self, texts: Sequence[str], *, k: int = 10, min_probability: float | None = None) -> list[list[Hit]]:
        """The best k labels of each text, best first; fewer when there are fewer labels.

        After `xmc check calibrate` each hit has a probability; `min_probability` then leaves out hits below it, all of
        them where nothing matches.
        Raises: DataError for a text that is not a non-blank string; ConfigError for k outside 1..10,000 or a
        probability outside 0..1; ArtifactError for `min_probability` without a calibration of this encoder and index.
        """
        return self._named(self.hits(texts, k=k), min_probability)

    def search_sets(
        self, texts: Sequence[str], *, alpha: float = 0.1, risk: Risk = "false-negatives"
    ) -> list[list[Hit]]:
        """For each text as many labels as it takes: on average at most a share alpha of its positives is missing.

        With `risk="coverage"` at least one positive is there with probability 1 - alpha. The promise is for queries of
        the kind that `xmc check conformal` was calibrated on.
        Raises: ArtifactError before `xmc check conformal`; DataError when alpha is too small for what it was given.
        """
        label_sets = self.fitted.require_label_sets()
        hits = self.hits(texts, k=label_sets.most_labels)
        return self._named(label_sets.cut(hits, alpha=alpha, risk=risk))

    def threshold(
        self, *, precision: float | None = None, recall: float | None = None, false_positive_rate: float | None = None
    ) -> float:
        """The `min_probability` with which held-out queries reached the one given precision, recall or rate.

        Raises: ConfigError unless exactly one is given and can be reached; ArtifactError without a calibration.
        """
        cut_offs = self.fitted.require_calibration().cut_offs
        return cut_offs.choose(precision=precision, recall=recall, false_positive_rate=false_positive_rate)

    def judged_hits(self, hits: Hits, min_probability: float | None = None) -> tuple[Hits, Any]:
        """Hits of at least `min_probability` and the probability of each, (H,), None without a calibration.

        `hits` are whole lists, as the search answers them: a probability depends on the rank.
        Raises: ConfigError, ArtifactError as `search`.
        """
        from xmc.retrieve.label_sets import keep_hits

        if min_probability is None:
            calibration = self.fitted.calibration
            return hits, calibration.probabilities(hits) if calibration else None
        if not 0 <= min_probability <= 1:
            raise ConfigError(f"min_probability must lie in 0..1, got {min_probability}.")
        probabilities_H = self.fitted.require_calibration().probabilities(hits)
        kept_H = probabilities_H >= min_probability
        return keep_hits(hits, kept_H), probabilities_H[kept_H]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Query embeddings (Q, D) of texts.

        Raises: DataError naming the first text that is not a non-blank string of valid Unicode.
        """
        check_texts(texts)
        return self.embed(self.prepare(texts))

    def hits(self, texts: Sequence[str], *, k: int = 10) -> Hits:
        """The best k label rows of each text (rows of `labels`), after the second stage where there is one.

        Raises: as `search`.
        """
        check_texts(texts)
        return self.hits_of(self.prepare(texts), k=k)

    def prepare(self, texts: Sequence[str]) -> RerankQueries:
        """The texts with the features that the encoder makes of them: the costly part of encoding long texts."""
        return RerankQueries(texts, self.encoder.prepare(texts, "query"))

    def hits_of(self, queries: RerankQueries, *, k: int = 10) -> Hits:
        """`hits` of texts that are prepared already."""
        check_k(k)
        depth = max(k, self.reranking.depth) if self.reranking else k
        hits = self.search_embeddings(self.embed(queries), k=depth)
        return self.reranking.rerank(queries, hits, k) if self.reranking else hits

    def embed(self, queries: RerankQueries) -> Tensor:
        """Query embeddings (Q, D) of prepared texts."""
        from xmc.encode.encoder import embed_features

        return embed_features(self.encoder, queries.features, "query")

    def search_embeddings(self, queries_QD: Tensor, *, k: int = 10) -> Hits:
        """The best k label rows of each query embedding by the first stage alone: encoder and index."""
        import numpy as np
        import torch

        check_k(k)
        if self.query_map is None:
            return self.index.search(queries_QD, k)
        hits = self.index.search(self.query_map.queries(queries_QD), k)
        offsets_H = self.query_map.offsets(queries_QD).repeat_interleave(torch.from_numpy(np.diff(hits.offsets)))
        return replace(hits, scores=hits.scores + offsets_H.float().numpy())

    def search_table(self, table: Any, *, k: int = 10, min_probability: float | None = None) -> Any:
        """The hits of an Arrow table with `query_id`, and `text` or `embedding`: a row for each row, in their order.

        Columns: `query_id` as it came, `label_ids`, `scores`, `probabilities` (after `xmc check calibrate`) and
        `status`: `ok`, or why the row could not be searched (`null`, `blank`, `too-long`, `invalid-text`,
        `not-finite`). Raises: DataError for missing or wrong columns; as `search` for k and `min_probability`.
        """
        from xmc.retrieve.table_search import search_table

        return search_table(self, table, k=k, min_probability=min_probability)

    def search_batches(self, reader: Any, *, k: int = 10, min_probability: float | None = None) -> Iterator[Any]:
        """`search_table` for a stream: record batches of hits for those of a `pyarrow.RecordBatchReader`.

        Memory stays bounded: a batch of more than 1,024 rows is answered in parts.
        Raises: as `search_table`.
        """
        from xmc.retrieve.table_search import search_batches

        return search_batches(self, reader, k=k, min_probability=min_probability)

    @property
    def report(self) -> IndexReport:
        """What the index is."""
        return self.index.report

    def _named(self, hits: Hits, min_probability: float | None = None) -> list[list[Hit]]:
        hits, probabilities_H = self.judged_hits(hits, min_probability)
        shown = [None] * len(hits.scores) if probabilities_H is None else probabilities_H.tolist()
        rows, scores = hits.label_rows.tolist(), hits.scores.tolist()
        return [
            [
                Hit(rank, self.labels.ids[rows[h]], self.labels.texts[rows[h]], scores[h], shown[h])
                for rank, h in enumerate(range(start, stop), start=1)
            ]
            for start, stop in itertools.pairwise(hits.offsets.tolist())
        ]


def check_k(k: int) -> None:
    """Refuse a k that cannot be. Raises: ConfigError."""
    if not 1 <= k <= MAX_K:
        raise ConfigError(f"k must lie in 1..{MAX_K}, got {k}.")


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
