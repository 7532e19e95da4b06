"""The absence of an augmentation, so that a configuration can name it."""

from __future__ import annotations

from dataclasses import dataclass

from xmc.api import AugmentationContext


@dataclass(frozen=True)
class NoAugmentation:
    """Training queries are as they are. It has no options and costs nothing."""

    def build(self, context: AugmentationContext) -> None:
        """Nothing to rewrite with."""

    def fingerprint(self) -> str:
        """It reads nothing."""
        return ""
