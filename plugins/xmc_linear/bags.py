"""Prepared texts as a sparse matrix: what the bags of an encoder are to a linear model."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from xmc.api import ConfigError


def bag_matrix(bags: Any, *, features: int = 0) -> Any:
    """Bags (`offsets`, `ids`, `weights`) as a SciPy CSR matrix (N, F) float32; F is `features`, or the largest id + 1.

    Ids of `features` and above are left out: a model has no weight for what it never saw.
    Raises: ConfigError when the encoder's features are no bags.
    """
    if not all(hasattr(bags, name) for name in ("offsets", "ids", "weights")):
        raise ConfigError(
            f"a linear model needs an encoder whose features are bags of words, and these are {type(bags).__name__}.",
            hint="Use encoder.name=tfidf, sparse-tfidf or static.",
        )
    count = features or int(bags.ids.max(initial=-1)) + 1
    kept = bags.ids < count
    counts = np.add.reduceat(np.append(kept, False), bags.offsets[:-1]) if len(bags.offsets) > 1 else np.zeros(0)
    counts = np.where(np.diff(bags.offsets) > 0, counts, 0)  # reduceat takes the next entry for an empty bag
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    parts = (np.asarray(bags.weights[kept], np.float32), bags.ids[kept], offsets)
    return scipy.sparse.csr_matrix(parts, shape=(len(offsets) - 1, count))
