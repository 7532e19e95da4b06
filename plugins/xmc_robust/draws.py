"""Random numbers of a query in an epoch, and a digest of a substitution set."""

from __future__ import annotations

import hashlib

import numpy as np

from xmc.api import Substitutions

STREAM = 0x0B057


def generator_of(seed: int, epoch: int, query_row: int) -> np.random.Generator:
    """Random numbers that depend on these three alone: not on the batch, nor on what was drawn before."""
    return np.random.default_rng([seed, STREAM, epoch, query_row])


def digest(substitutions: Substitutions) -> str:
    """SHA-256 of what may replace what."""
    return hashlib.sha256(repr(list(substitutions.of_word.items())).encode()).hexdigest()
