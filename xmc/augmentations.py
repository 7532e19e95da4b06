"""What an augmentation is: it rewrites the texts of training queries, anew in each epoch.

Shapes: N queries, L labels, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from xmc.values import Positives


@runtime_checkable
class AdditiveEncoder(Protocol):
    """An encoder whose embedding of a text is the sum of what its words give, times a positive factor of the text."""

    def word_sums(self, words: Sequence[str], role: str) -> Tensor:
        """What each word, written as it is, adds to the sum of a text, (N, D), without gradient.

        Raises: ConfigError when the encoder does not split texts into words.
        """


@dataclass(frozen=True)
class AugmentationContext:
    """What an augmentation is built from; `encoder` is the one that will be trained.

    `texts` are those of all queries that training draws from and `positives` their label rows; where label texts train
    as queries for their own label, they come after the queries.
    """

    texts: Sequence[str]
    positives: Positives
    seed: int = 0
    encoder: Any = None


@dataclass(frozen=True)
class EpochModel:
    """The model at the start of an epoch, for augmentations that ask for it.

    `labels_LD` are the vectors that queries are scored with; `scores(rows)` yields the scores of the unchanged queries
    in chunks of rows that fit in `[train] score_memory_mb`, (R, L) each, in order. A chunk may be written into, and is
    overwritten by the next.
    """

    encoder: Any
    labels_LD: Tensor
    scores: Callable[[np.ndarray[Any, Any]], Iterator[Tensor]]


@runtime_checkable
class Augmentation(Protocol):
    """Rewrites training queries: a pure function of query row and epoch, so that a resumed run ends in the same bits.

    With `needs_model` it is a function of the model at the start of the epoch as well: it is then asked once for all
    queries of the epoch, after a checkpoint, and its answer is kept in the run folder. Without, it is asked batch by
    batch, and `model` is None.
    """

    needs_model: bool

    def rewrite(self, query_rows_N: np.ndarray[Any, Any], epoch: int, model: EpochModel | None) -> list[str]:
        """The texts that these queries have in epoch `epoch` (from 0)."""


@runtime_checkable
class AugmentationOptions(Protocol):
    """The options of an augmentation plugin: a frozen dataclass that builds the augmentation."""

    def build(self, context: AugmentationContext) -> Augmentation | None:
        """The augmentation; None for texts as they are. Raises: ConfigError for an encoder that it cannot work with."""

    def fingerprint(self) -> str:
        """A digest of what it reads beside its options, such as a file; "" for nothing. A run is resumed with the same.

        Raises: DataError when that cannot be read.
        """
