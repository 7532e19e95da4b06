"""Let a teacher read a data set once: its scores of the training queries, its vectors of the labels, kept for students.

Shapes: Q queries, L labels, D width, K shortlist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from xmc.config import build_options
from xmc.data.dataset import Dataset
from xmc.data.shards import write_table
from xmc.data.tables import QueryTable, label_table_to_arrow
from xmc.encode.encoder import Encoder, Role, chunks, embed_chunks
from xmc.encode.sentence_transformer import FILE_NAME as MODULES_NAME
from xmc.encode.sentence_transformer import SentenceTransformerOptions, names_a_folder
from xmc.engine.devices import choose_device
from xmc.engine.progress import Progress, counting, say_nothing
from xmc.engine.run_config import FILE_NAME as CONFIG_NAME
from xmc.engine.teacher import KIND, LABELS_NAME, VECTORS_NAME
from xmc.errors import ConfigError, DataError, NonFiniteError
from xmc.home import home_expanded
from xmc.plugin_manager import Plugins
from xmc.retrieve.batch import hits_to_arrow, search_texts
from xmc.retrieve.query_checks import check_k
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.row_file import save_rows
from xmc.store import new_folder, require_new
from xmc.values import Hits

SHARD_QUERIES = 65_536
TEXTS_AT_ONCE = 64
QUERIES_AT_ONCE = 512
LARGEST_FLOAT16 = 65_504
OnTexts = Callable[[int], None]


@dataclass(frozen=True)
class TeachingReport:
    """What was written: queries, labels, the shortlist's length, the width of the label vectors (0 = there are none).

    `recall` is the share of the training queries' positives that the teacher itself put on its shortlists.
    """

    queries: int
    labels: int
    k: int
    dimension: int
    recall: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class _Source(Protocol):
    """A teacher that was opened: its label vectors, or None, and its best k labels of some queries."""

    @property
    def vectors_LD(self) -> Tensor | None: ...

    def hits(self, queries: QueryTable, k: int) -> Hits: ...


def run_teaching(
    teacher: str,
    data: Dataset,
    out: Path,
    *,
    k: int,
    device: str,
    plugins: Plugins,
    settings: Mapping[str, Any],
    on_progress: Progress | None = None,
) -> TeachingReport:
    """Write the teacher's folder, whole or not at all: a run's answers, or those of a sentence-transformers folder.

    `settings` are options of the encoder `sentence-transformers`.
    Raises: ConfigError for k, settings and a place that is not empty; DataError when a run has other labels;
    NonFiniteError for scores that float16 cannot hold; what opening the teacher raises.
    """
    k = check_k(k)
    require_new(out)
    path = home_expanded(teacher)
    is_run = (path / CONFIG_NAME).is_file()
    if names_a_folder(teacher) and not is_run and not (path / MODULES_NAME).is_file():
        lacks = f"holds neither {CONFIG_NAME} nor {MODULES_NAME}" if path.is_dir() else "is not there"
        raise ConfigError(
            f"--teacher {teacher}: nothing can teach from there, for the folder {path.absolute()} {lacks}.",
            hint="A teacher is the folder of a trained run, or one that SentenceTransformer.save_pretrained wrote.",
        )
    k = min(k, len(data.labels))
    device, found = choose_device(device), 0
    total = len(data.train) + (0 if is_run else len(data.labels))
    on_texts = counting(partial(on_progress or say_nothing, "texts"), total)
    if is_run:
        source: _Source = _RunTeacher(path, data, settings, device=device, plugins=plugins, on_texts=on_texts)
    else:
        source = _EncoderTeacher(teacher, data, settings, device=device, on_texts=on_texts)
    facts: dict[str, Any] = {}
    with new_folder(out, kind=KIND, facts=facts) as folder:
        for number, rows in enumerate(chunks(len(data.train), SHARD_QUERIES)):
            queries = data.train.take(rows)
            hits = source.hits(queries, k)
            found += _positives_among(hits, queries, labels=len(data.labels))
            table = _in_float16(hits_to_arrow(queries.ids, hits, data.labels))
            write_table(folder / f"scores-{number:05d}.arrow", table)
        if source.vectors_LD is not None:
            save_rows(folder / VECTORS_NAME, source.vectors_LD)
            write_table(folder / LABELS_NAME, label_table_to_arrow(data.labels))
        width = 0 if source.vectors_LD is None else source.vectors_LD.shape[1]
        recall = round(found / len(data.train.positives.label_rows), 4)
        report = TeachingReport(len(data.train), len(data.labels), k, width, recall)
        facts.update(report.to_dict(), data=data.fingerprint)
    return report


class _EncoderTeacher:
    """A sentence-transformers folder: labels are their embedded texts, every score is a product."""

    def __init__(
        self, teacher: str, data: Dataset, settings: Mapping[str, Any], *, device: str, on_texts: OnTexts
    ) -> None:
        values = {"model": teacher, **settings}
        options: Any = build_options(SentenceTransformerOptions, values, section="encoder", source="xmc teach")
        self._encoder: Encoder = options.build((), (), seed=0)
        self._encoder.module.to(device)
        self._on_texts = on_texts
        self.vectors_LD = embed_sorted(self._encoder, data.labels.texts, "label", on_texts=on_texts)

    def hits(self, queries: QueryTable, k: int) -> Hits:
        """The best k labels of each query, by label row."""
        queries_QD = embed_sorted(self._encoder, queries.texts, "query", on_texts=self._on_texts)
        rows, scores = [], []
        for part in chunks(len(queries), QUERIES_AT_ONCE):
            best = (queries_QD[part] @ self.vectors_LD.T).topk(k, dim=1)
            rows.append(best.indices)
            scores.append(best.values)
        offsets = np.arange(len(queries) + 1, dtype=np.int64) * k
        return Hits(offsets, torch.cat(rows).flatten().numpy(), torch.cat(scores).flatten().numpy())


class _RunTeacher:
    """A trained run: its answers, second stage included, and its label vectors where they are searched as they are."""

    def __init__(
        self,
        teacher: Path,
        data: Dataset,
        settings: Mapping[str, Any],
        *,
        device: str,
        plugins: Plugins,
        on_texts: OnTexts,
    ) -> None:
        if settings:
            raise ConfigError("--set is for a teacher that is a model folder; a run has settings of its own.")
        self._retriever = Retriever.load(teacher, device=device, plugins=plugins, warn=False)
        self._on_texts = on_texts
        ids = data.labels.ids
        data_rows = sorted(range(len(ids)), key=ids.__getitem__)  # a run has its labels in the order of their ids
        if self._retriever.labels.ids != [ids[row] for row in data_rows]:
            counts = f"{len(self._retriever.labels):,} and {len(ids):,}"
            raise DataError(
                f"the labels of the run {teacher} are not those of the data set {data.name} ({counts} of them).",
                hint="A run teaches the data set that it was trained on.",
            )
        self._data_rows_L = np.array(data_rows, dtype=np.int64)
        chunks_ND, query_map = self._retriever.model.label_vectors(self._retriever.labels)
        parts = list(chunks_ND)
        dense = query_map is None and parts[0].layout == torch.strided
        self.vectors_LD = torch.cat(parts).cpu()[np.argsort(self._data_rows_L)] if dense else None

    def hits(self, queries: QueryTable, k: int) -> Hits:
        """What the run answers, by label row of the data set."""
        hits = search_texts(self._retriever, queries.texts, k=k, on_chunk=self._on_texts)
        return replace(hits, label_rows=self._data_rows_L[hits.label_rows])


def embed_sorted(encoder: Encoder, texts: Sequence[str], role: Role, *, on_texts: OnTexts) -> Tensor:
    """Embeddings of texts, (N, D) float32, few at a time, those of like length together so that little is padded."""
    order = np.argsort([-len(text) for text in texts], kind="stable")
    features = encoder.prepare([texts[row] for row in order], role)
    embeddings_ND = torch.empty(len(texts), encoder.dimension)
    done = 0
    for part_ND in embed_chunks(encoder, features, role, chunk_size=TEXTS_AT_ONCE):
        embeddings_ND[torch.from_numpy(order[done : done + len(part_ND)])] = part_ND.cpu()
        done += len(part_ND)
        on_texts(len(part_ND))
    return embeddings_ND


def _positives_among(hits: Hits, queries: QueryTable, *, labels: int) -> int:
    return int(np.isin(queries.positives.pair_keys(labels), hits.pair_keys(labels)).sum())


def _in_float16(table: Any) -> Any:
    """The table with its scores in half the size. Raises: NonFiniteError when one does not fit."""
    scores = table.column("scores").combine_chunks()
    values = np.asarray(scores.values)
    if len(values) and not float(np.abs(values).max()) <= LARGEST_FLOAT16:
        raise NonFiniteError(f"the teacher has scores that are not within ±{LARGEST_FLOAT16:,}.")
    halves = pa.ListArray.from_arrays(scores.offsets, pa.array(values.astype(np.float16)))
    return table.set_column(table.schema.get_field_index("scores"), "scores", halves)
