"""What an index backend builds, and what more an index may be able to do; plugins see these through `xmc.api`.

`Index` and `IndexBackend` are the whole duty. The other protocols are optional: the engine looks which an index has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from xmc.values import Hits, IndexReport


@runtime_checkable
class Index(Protocol):
    """A built index: immutable, safe to search from several threads."""

    @property
    def report(self) -> IndexReport:
        """What was built, how large it is and how long it took."""

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The best k labels of each query, fewer when there are fewer; score descending, then label row ascending."""

    def save(self, folder: Path) -> None:
        """Write the index into an empty folder that the caller commits."""


@runtime_checkable
class IndexBackend(Protocol):
    """Builds and loads one kind of index: a frozen dataclass whose fields are its options."""

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> Index:
        """Stream chunks of label embeddings (n, D), in row order, into an index; `similarity` is `dot` or `cosine`."""

    def load(self, folder: Path, *, device: str) -> Index:
        """Open what `save` wrote; the folder's checksums are already verified."""


@runtime_checkable
class PlacedBackend(IndexBackend, Protocol):
    """A backend that says before it builds whether it can on a device, so that no training ends in that error."""

    def require_device(self, device: str) -> None:
        """Nothing for a device that `build` takes; raises what `build` raises for another: DeviceError, ConfigError.

        Also where what the backend needs is not installed: PluginError.
        """


@runtime_checkable
class CountedBackend(IndexBackend, Protocol):
    """A backend that says before it builds whether it takes so many labels, so that no training ends in that error."""

    def require_labels(self, labels: int) -> None:
        """Nothing for a number of labels that `build` takes; raises what `build` raises for another."""


@runtime_checkable
class FilteredIndex(Index, Protocol):
    """An index that can search some of its labels only."""

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows (ascending, each once), scored and ordered as `search` does."""


@runtime_checkable
class CertifyingIndex(Index, Protocol):
    """An approximate index that can prove single answers."""

    def search_certified(self, queries_QD: Tensor, k: int) -> tuple[Hits, np.ndarray[Any, Any]]:
        """The hits of `search`, and for each query whether they are proven to be the true top k, (Q,) bool."""


@runtime_checkable
class TunableIndex(Index, Protocol):
    """An index whose search can be made faster or better without building it anew."""

    def search_ladder(self) -> Sequence[Mapping[str, Any]]:
        """Options of the search from the fastest to the best, such as `{"nprobe": 1}`, `{"nprobe": 2}`, …

        They are fields of the backend. Whole numbers between those of two steps are allowed too, and lie between them.
        """

    def with_search_options(self, options: Mapping[str, Any]) -> Index:
        """This index searched with other options of its backend; the vectors are shared, not copied."""


@runtime_checkable
class ProposingBackend(IndexBackend, Protocol):
    """A backend that can be chosen by goal: it says which builds are worth trying, and what they would take."""

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> Sequence[IndexBackend]:
        """Options worth building for so many labels, the most promising first; none where it makes no sense."""

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Memory that the built index would hold."""
