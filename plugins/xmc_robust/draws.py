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


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless a value lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
