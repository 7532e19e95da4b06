"""Linear regression with a known teacher, and its gradient flow by plain steps: what the theory is judged by."""

import numpy as np
from scipy.sparse import csr_array

from xmc.diagnose.features import Data


def regression(*, queries, features, noise, answers=30, held_out=2000, hidden=0, decay=0.0, seed=0):
    """y = X w + noise with w of variance 1 / features; `hidden` further features count in y and are not given.

    The k-th feature has standard deviation k^-decay.
    """
    generator = np.random.default_rng(seed)
    wide = features + hidden
    weights = generator.standard_normal((wide, answers)) / np.sqrt(wide)
    inputs = generator.standard_normal((queries + held_out, wide)) * np.arange(1.0, wide + 1) ** -decay
    outputs = inputs @ weights + np.sqrt(noise) * generator.standard_normal((queries + held_out, answers))
    given = inputs[:, :features]
    parts = given[:queries], csr_array(outputs[:queries]), given[queries:], csr_array(outputs[queries:])
    return Data(*parts), weights[:features]


def descend(features, outputs, *, rate, steps):
    """Weights after each step of plain gradient descent on the squared error, from 0."""
    weights, found = np.zeros((features.shape[1], outputs.shape[1])), []
    for _ in range(steps):
        weights = weights - rate * features.T @ (features @ weights - outputs)
        found.append(weights)
    return found
