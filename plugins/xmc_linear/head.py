"""The linear model as a head: fitted in one go, not by steps, and handed to the index `sparse`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from xmc.api import Positives
from xmc_linear.fit import OneVsRestOptions, fit_one_vs_rest
from xmc_linear.one_vs_rest import SolverOptions

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class LinearOptions:
    """Options of the linear head; see `SolverOptions` and `OneVsRestOptions` for what they do."""

    loss: Literal["squared-hinge", "logistic"] = "squared-hinge"
    cost: float = 1.0
    positive_weight: float = 4.0
    tolerance: float = 0.03
    iterations: int = 30
    prune: float = 0.05
    cluster_size: int = 16
    rounds: int = 2
    mined: int = 20
    summaries: int = 128
    summary_weight: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        self.resolved()

    def resolved(self) -> OneVsRestOptions:
        """The same as the options of `fit_one_vs_rest`.

        Raises: ValueError for an option that cannot work.
        """
        return OneVsRestOptions(
            SolverOptions(self.loss, self.cost, self.positive_weight, self.tolerance, self.iterations, self.prune),
            cluster_size=self.cluster_size,
            rounds=self.rounds,
            mined=self.mined,
            summaries=self.summaries,
            summary_weight=self.summary_weight,
        )

    def fit(
        self,
        features: Any,
        positives: Positives,
        *,
        labels: int,
        seed: int = 0,
        threads: int = 1,
        shortlist: Positives | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> LinearWeights:
        """Fit to features, a torch CSR tensor or a SciPy matrix (N, F). See `fit_one_vs_rest`."""
        weights_LF = fit_one_vs_rest(
            to_scipy(features),
            positives,
            labels=labels,
            options=self.resolved(),
            shortlist=shortlist,
            seed=seed,
            threads=threads,
            on_progress=on_progress,
        )
        return LinearWeights(weights_LF)


@dataclass(frozen=True, eq=False)
class LinearWeights:
    """The weights of a linear model, (L, F) SciPy CSR, float32."""

    weights_LF: Any

    def chunks(self, label_rows: np.ndarray[Any, Any] | None = None) -> Iterator[Tensor]:
        """The weights of these labels (None = all) in CSR tensors of at most 4,096 rows, as an index is built of."""
        chosen = self.weights_LF if label_rows is None else self.weights_LF[label_rows]
        for start in range(0, chosen.shape[0], ROWS_AT_ONCE):
            yield to_csr_tensor(chosen[start : start + ROWS_AT_ONCE])

    def state(self) -> dict[str, Tensor]:
        """The weights as plain tensors: offsets (L + 1,), features and weights (non-zeros,), shape (2,)."""
        matrix = self.weights_LF
        return {
            "offsets": torch.from_numpy(matrix.indptr.astype(np.int64)),
            "features": torch.from_numpy(matrix.indices.astype(np.int32)),
            "weights": torch.from_numpy(matrix.data.astype(np.float32)),
            "shape": torch.tensor(matrix.shape, dtype=torch.int64),
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> LinearWeights:
        """What `state` gave. Raises: ValueError when the parts do not fit together."""
        parts = tuple(state[name].numpy() for name in ("weights", "features", "offsets"))
        rows, columns = state["shape"].tolist()
        weights_LF = scipy.sparse.csr_matrix(parts, shape=(rows, columns))
        weights_LF.check_format(full_check=True)
        return cls(weights_LF)


def to_scipy(features: Any) -> Any:
    """A torch CSR tensor as a SciPy CSR matrix over the same memory; a SciPy matrix as it is, float32 CSR."""
    if isinstance(features, torch.Tensor):
        parts = tuple(part.numpy() for part in (features.values(), features.col_indices(), features.crow_indices()))
        return scipy.sparse.csr_matrix(parts, shape=tuple(features.shape))
    return scipy.sparse.csr_matrix(features, dtype=np.float32)


def to_csr_tensor(matrix_NF: Any) -> Tensor:
    """A SciPy CSR matrix as a torch CSR tensor over the same memory."""
    offsets, columns, values = (
        torch.from_numpy(part) for part in (matrix_NF.indptr, matrix_NF.indices, matrix_NF.data)
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse", category=UserWarning)  # torch calls its CSR "beta"
        return torch.sparse_csr_tensor(offsets, columns, values, matrix_NF.shape)
