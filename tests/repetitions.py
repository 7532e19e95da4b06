"""What every change is tested with, and what more with XMC_TESTS=full, as before a release."""

import os

import pytest

IS_FULL = os.environ.get("XMC_TESTS") == "full"
only_in_full = pytest.mark.skipif(not IS_FULL, reason="another test comes near it in a fraction of the time")


def spare_the_disk() -> None:
    """Let this process not wait for the disk: thirteen files did so 10,660 times, and no test unplugs a machine.

    What is forced to the disk, and in which order, is tested in tests/xmc/store, where it is really done.
    """
    if not IS_FULL:
        os.fsync = os.fstat  # still an error for what is no open file


def repetitions(usual: int, *, full: int) -> int:
    """How often a test of chance repeats itself."""
    return full if IS_FULL else usual
