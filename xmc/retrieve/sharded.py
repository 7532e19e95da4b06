"""Index backend `sharded`: the labels cut into parts, each with an index of its own, whose answers are merged.

With an exact backend the answer is that of one index over all labels, ties included. In one process the parts are
searched one after the other, each with all threads; `xmc predict --engine ray` lets a process of its own hold each.

shard-00000/…     what the inner backend saved for the first part, and so on
sharded.json      the inner backend, the first label row of each part, the report
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xmc.api import (
    ArtifactError,
    CountedBackend,
    Hits,
    Index,
    IndexBackend,
    IndexReport,
    PlacedBackend,
    validate_chunks,
    validate_k,
    validate_label_rows,
    validate_vectors,
)
from xmc.config import build_options
from xmc.encode.csr import take_rows
from xmc.plugin_manager import Plugins, load_plugins
from xmc.retrieve.checked_index import checked
from xmc.retrieve.kept_search import search_among
from xmc.retrieve.merge import merge_hits

if TYPE_CHECKING:
    from torch import Tensor

FACTS_FILE = "sharded.json"
NAME = "sharded"


@dataclass(frozen=True)
class Sharded:
    """An index in `shards` parts of equal size (fewer when there are fewer labels), each of the backend `backend`.

    `options` are those of that backend: `--set index.options='{score_memory_mb = 8}'`. Building needs memory for all
    parts, searching in separate processes only for one each.
    """

    backend: str = "exact"
    shards: int = 2
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise ValueError(f"shards must be at least 1, got {self.shards}")
        if self.backend == NAME:
            raise ValueError("the parts of a sharded index cannot be sharded themselves")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> ShardedIndex:
        """Cut the stream into parts of ceil(L / shards) labels and build an index of each.

        Raises: as the inner backend; DataError when there is no vector.
        """
        started = time.perf_counter()
        backend = self.inner()
        chunks = list(validate_chunks(embeddings, sparse=True))  # checked here, for a part would name rows of its own
        labels = sum(len(chunk) for chunk in chunks)
        size = -(-labels // self.shards)
        starts = tuple(range(0, labels, size))
        parts = []
        for _ in starts:
            part, chunks = _cut(chunks, size)
            parts.append(backend.build(part, similarity=similarity, device=device))
        report = replace(
            parts[0].report,
            backend=NAME,
            labels=labels,
            memory_bytes=sum(part.report.memory_bytes for part in parts),
            build_s=time.perf_counter() - started,
            exact=all(part.report.exact for part in parts),
            options=asdict(self),
        )
        return ShardedIndex(tuple(parts), starts, report)

    def load(self, folder: Path, *, device: str) -> ShardedIndex:
        """Open all parts that `save` wrote. Raises: ArtifactError when they cannot be read; DeviceError."""
        starts, report = read_facts(folder)
        parts = tuple(load_part(folder, part, device=device, plugins=self.plugins) for part in range(len(starts)))
        return ShardedIndex(parts, starts, replace(report, device_used=parts[0].report.device_used))

    def require_device(self, device: str) -> None:
        """What the backend of the parts says of this device. Raises: DeviceError; ConfigError for another word."""
        inner = self.inner()
        if isinstance(inner, PlacedBackend):
            inner.require_device(device)

    def require_labels(self, labels: int) -> None:
        """What the backend of the parts says of the smallest part. Raises: as that."""
        inner = self.inner()
        if isinstance(inner, CountedBackend):
            size = max(1, -(-labels // self.shards))
            inner.require_labels(labels % size or size)

    @functools.cached_property
    def plugins(self) -> Plugins:
        """Those that have the backend of the parts: the installed ones, unless `with_plugins` gave others."""
        return load_plugins()

    def with_plugins(self, plugins: Plugins) -> Sharded:
        """The same with the backend of the parts from these plugins."""
        same = replace(self)
        vars(same)["plugins"] = plugins
        return same

    def inner(self) -> IndexBackend:
        """The backend of the parts with its options. Raises: PluginError, ConfigError."""
        return _inner(self.plugins, self.backend, self.options)


@dataclass(frozen=True, eq=False)
class ShardedIndex:
    """The parts, and the label row at which each begins."""

    parts: tuple[Index, ...]
    starts: tuple[int, ...]
    report: IndexReport

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The best k labels over all parts. Raises: as the inner index."""
        return search_parts([part.search for part in self.parts], self.starts, queries_QD, k)

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows (ascending, each once) over all parts; a part with none is not searched.

        Raises: as the inner index; PluginError when that can neither search among some labels nor name them all.
        """
        k = validate_k(k)
        rows = validate_label_rows(label_rows, labels=self.report.labels)
        queries_QD = validate_vectors(queries_QD, what="query", dimension=self.report.dimension, sparse=True)
        pairs = zip(self.parts, rows_of_parts(rows, self.starts), strict=True)
        return merge_parts([search_among(part, queries_QD, k, own) for part, own in pairs], self.starts, k)

    def save(self, folder: Path) -> None:
        """Write each part into a folder of its own, and the facts."""
        for number, part in enumerate(self.parts):
            part_folder(folder, number).mkdir()
            part.save(part_folder(folder, number))
        facts = {"starts": self.starts, "report": asdict(self.report)}
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def search_parts(
    searches: Sequence[Callable[[Tensor, int], Hits]], starts: Sequence[int], queries_QD: Tensor, k: int
) -> Hits:
    """Search every part and merge: the answers of part i are rows of its own, which begin at `starts[i]`."""
    return merge_parts([search(queries_QD, k) for search in searches], starts, k)


def merge_parts(parts: Sequence[Hits], starts: Sequence[int], k: int) -> Hits:
    """The best k of each query over the answers of parts, in rows of the whole."""
    shifted = [replace(part, label_rows=part.label_rows + start) for part, start in zip(parts, starts, strict=True)]
    return merge_hits(shifted, k)


def rows_of_parts(label_rows: np.ndarray[Any, Any], starts: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Ascending label rows of the whole as those of each part, in rows of its own.

    >>> [rows.tolist() for rows in rows_of_parts(np.array([1, 4, 5]), (0, 2, 4))]
    [[1], [], [0, 1]]
    """
    parts = np.split(label_rows, np.searchsorted(label_rows, starts[1:]))
    return [rows - start for rows, start in zip(parts, starts, strict=True)]


def part_folder(folder: Path, number: int) -> Path:
    """Where a part lies in the folder of the index."""
    return folder / f"shard-{number:05d}"


def read_facts(folder: Path) -> tuple[tuple[int, ...], IndexReport]:
    """The first label row of each part, and the report of the whole. Raises: ArtifactError."""
    try:
        facts = json.loads((folder / FACTS_FILE).read_bytes())
        starts, report = tuple(int(start) for start in facts["starts"]), IndexReport(**facts["report"])
        if not starts or not {"backend", "options"} <= report.options.keys():
            raise ValueError(f"{FACTS_FILE} names no parts or not their backend")
        return starts, report
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder} holds no sharded index that can be read: {error}.") from error


def load_part(folder: Path, number: int, *, device: str, plugins: Plugins) -> Index:
    """Open one part alone, in rows of its own. Raises: ArtifactError, DeviceError, PluginError."""
    _, report = read_facts(folder)
    backend = _inner(plugins, report.options["backend"], report.options["options"])
    index = backend.load(part_folder(folder, number), device=device)
    return checked(index, report.options["backend"], plugins)


def _inner(plugins: Plugins, name: str, options: Mapping[str, Any]) -> IndexBackend:
    cls = plugins.find("index", name).load()
    backend: IndexBackend = build_options(cls, options, section="index.options", source=f"sharded over '{name}'")
    return backend


def _cut(chunks: list[Tensor], size: int) -> tuple[list[Tensor], list[Tensor]]:
    """The chunks of the first `size` rows, and the others."""
    first: list[Tensor] = []
    rest = list(chunks)
    while rest and size > 0:
        chunk = rest.pop(0)
        if len(chunk) > size:
            rest.insert(0, _rows_between(chunk, size, len(chunk)))
            chunk = _rows_between(chunk, 0, size)
        first.append(chunk)
        size -= len(chunk)
    return first, rest


def _rows_between(chunk: Tensor, start: int, stop: int) -> Tensor:
    """Rows of a dense chunk, not copied, or of a CSR one, which torch cannot slice."""
    if chunk.layout != torch.sparse_csr:
        return chunk[start:stop]
    return take_rows(chunk, torch.arange(start, stop))
