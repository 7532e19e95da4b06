"""The absence of a second stage, so that a configuration can name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoReranker:
    """No second stage: hits are those of the index. It has no options and is never fitted."""
