"""Build an index from a stream of label vectors, and see that every label is in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from xmc.counted import counted
from xmc.errors import PluginError
from xmc.values import IndexReport
from xmc.vectors import validate_device

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.index_contract import Index, IndexBackend


class LabelStream:
    """Chunks of label vectors (n, D) that pass once; counts those that passed.

    >>> stream = LabelStream([[1.0, 2.0], [3.0]])
    >>> len(list(stream)), stream.passed
    (2, 3)
    """

    def __init__(self, chunks: Iterable[Tensor], *, backend: str = "") -> None:
        self.passed = 0
        self._chunks = iter(chunks)
        self._backend = backend
        self._ended = False

    def __iter__(self) -> Iterator[Tensor]:
        """The chunks that have not passed yet. Raises: PluginError when all have, for they do not come again."""
        if self._ended:
            raise PluginError(
                f"index backend {self._backend} reads the label vectors a second time, and they pass only once.",
                hint="In its build(), keep what is needed of each chunk when it comes.",
            )
        for chunk in self._chunks:
            self.passed += len(chunk)
            yield chunk
        self._ended = True

    def count(self) -> int:
        """How many vectors there are, those that nobody asked for included."""
        return self.passed + sum(len(chunk) for chunk in self._chunks)


def build_index(backend: IndexBackend, chunks: Iterable[Tensor], *, labels: int, similarity: str, device: str) -> Index:
    """The index that `backend` builds of the vectors of so many labels.

    Raises: what the backend raises; PluginError when the vectors given, read and reported are not as many as the
    labels, for then answers would be missing or those of other labels.
    """
    validate_device(device)
    name = type(backend).__name__
    stream = LabelStream(chunks, backend=name)
    index = backend.build(stream, similarity=similarity, device=device)
    if not isinstance(getattr(index, "report", None), IndexReport):
        raise PluginError(
            f"index backend {name}: build() answers a {type(index).__name__} whose report is no IndexReport.",
            hint="It answers the index, and index.report is an IndexReport of xmc.api.",
        )
    read, given = stream.passed, stream.count()
    if given != labels:
        raise PluginError(
            f"the head gives {counted(given, 'label vector')} for {counted(labels, 'label')}.",
            hint="label_vectors(label_rows) yields one row for each of label_rows, in their order.",
        )
    if read != labels:
        raise PluginError(f"index backend {name} read {read:,} of {counted(labels, 'label vector')}.")
    if index.report.labels != labels:
        raise PluginError(
            f"index backend {name} was given {counted(labels, 'label vector')} and reports "
            f"labels={index.report.labels!r}."
        )
    return index
