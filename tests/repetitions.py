"""What every change is tested with, and what more with XMC_TESTS=full, as before a release."""

import os

import pytest

IS_FULL = os.environ.get("XMC_TESTS") == "full"
only_in_full = pytest.mark.skipif(not IS_FULL, reason="another test comes near it in a fraction of the time")


def repetitions(usual: int, *, full: int) -> int:
    """How often a test of chance repeats itself."""
    return full if IS_FULL else usual
