"""What a head is: the part of a model that holds the labels' vectors and lets them learn.

The trainer embeds the queries of a batch, the head answers with the loss of each and the gradient of their embeddings.
Shapes: Q queries, L labels, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from xmc.values import Hits, Positives


@dataclass(frozen=True)
class HeadContext:
    """What a head is built from. To read a trained head, `loss` and `train` are None and its state is loaded next.

    `encoder`, `label_features` (the labels' prepared texts, in label row order), `train` (the options of [train]) and
    `ranks` (the processes that train together, None = one) are what core's own heads need; they are typed in
    `xmc.encode` and `xmc.train`, which stand above this module. A head that knows nothing of ranks gets whole batches.
    `teacher_vectors` are those of all labels, (L, E) float32, by the teacher of [teacher]; None without one.
    `optimizer` are the options of the encoder's optimiser, None to read a trained head: see `LabelOptimizerOptions`.
    """

    labels: int
    dimension: int
    similarity: str
    device: str = "cpu"
    seed: int = 0
    loss: Any = None
    pool: Literal["row", "batch"] = "row"
    encoder: Any = None
    label_features: Any = None
    train: Any = None
    ranks: Any = None
    teacher_vectors: Any = None
    optimizer: Any = None


@dataclass(frozen=True)
class HeadBatch:
    """The batch of step `step`: rows of its queries in the training data, (Q,), and their positives (label rows).

    `hard_negatives_QH` are label rows mined for each query, filled up with -1; None when nothing is mined.
    `teacher` is the shortlist of each query with its teacher's scores, by label row; None without a teacher.
    `bags_Q` numbers the bag of each query; None where queries have labels of their own.
    """

    step: int
    query_rows_Q: np.ndarray[Any, Any]
    positives: Positives
    hard_negatives_QH: np.ndarray[Any, Any] | None = None
    teacher: Hits | None = None
    bags_Q: np.ndarray[Any, Any] | None = None

    @property
    def hard_negatives(self) -> np.ndarray[Any, Any] | None:
        """The label rows mined for any of these queries, ascending, each once; None when nothing is mined."""
        import numpy as np

        mined_QH = self.hard_negatives_QH
        return None if mined_QH is None else np.unique(mined_QH[mined_QH >= 0])


@dataclass(frozen=True)
class Learned:
    """Loss of each query, (Q,), and the gradient of the batch's mean loss with respect to its embeddings, (Q, D)."""

    losses_Q: Tensor
    queries_gradient_QD: Tensor


@dataclass(frozen=True)
class QueryMap:
    """A linear map from embeddings to index queries: the index is asked for `matrix_ED @ h`, scores get `offset_D · h`.

    Lets a head that keeps its label matrix in factored form be searched without multiplying it out.
    """

    matrix_ED: Tensor
    offset_D: Tensor

    def queries(self, queries_QD: Tensor) -> Tensor:
        """What the index is asked, (Q, E)."""
        return queries_QD @ self.matrix_ED.T.to(queries_QD.dtype)

    def offsets(self, queries_QD: Tensor) -> Tensor:
        """What every score of a query gets on top, (Q,)."""
        return queries_QD @ self.offset_D.to(queries_QD.dtype)


@runtime_checkable
class FittedHead(Protocol):
    """Labels that have learned: what an index is built of. Its state is saved with the encoder.

    Tensors of the state whose names begin with `optimiser.` are needed to go on training only: a checkpoint has them,
    the trained model does not.
    """

    def label_vectors(self, label_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        """The vectors that an index is built of, in chunks, in the order of `label_rows`; dense, or sparse CSR."""

    def query_map(self) -> QueryMap | None:
        """How an embedding becomes the query of that index; None for as it is."""

    def state(self) -> dict[str, Tensor]:
        """Everything learned that is not the encoder's, with all that the next update needs; may be empty."""

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""


@runtime_checkable
class Head(FittedHead, Protocol):
    """Labels that learn step by step, with the encoder. Built by a `HeadOptions`."""

    def parameters(self) -> list[nn.Parameter]:
        """The head's own parameters whose `.grad` is clipped and checked together with the encoder's."""

    def learn(self, queries_QD: Tensor, batch: HeadBatch) -> Learned:
        """Loss and gradient of a batch of detached embeddings; the labels' own gradient is kept until `update`."""

    def update(self, learning_rate_share: float) -> None:
        """Apply the kept gradient at this share of the head's peak learning rate. Called once after each `learn`."""


@runtime_checkable
class HeadOptions(Protocol):
    """The options of a head plugin: a frozen dataclass that builds the head.

    A head that is fitted in one go instead of by steps has `fit` as well (see `WholeHeadOptions`), and what it builds
    need only be a `FittedHead`. One whose steps over all labels cost no more than over a few says so by the attribute
    `all_labels_at_no_cost = True`, and `[train] label_scope = "auto"` is then `all`.
    """

    def build(self, context: HeadContext) -> FittedHead:
        """A fresh head. Raises: ConfigError for a loss or an option of [train] that it cannot work with."""


@runtime_checkable
class WholeHeadOptions(HeadOptions, Protocol):
    """The options of a head that is fitted to all queries at once; the encoder makes the features, learning nothing."""

    def fit(
        self, context: HeadContext, features: Any, positives: Positives, *, progress: Callable[[int, int], None]
    ) -> FittedHead:
        """The head fitted to the prepared training queries; `progress(done, all)` is called now and then."""
