"""How often a test of chance repeats itself: enough for every change, many times more with XMC_TESTS=full."""

import os


def repetitions(usual: int, *, full: int) -> int:
    """`full` when the environment says XMC_TESTS=full, as before a release, else `usual`."""
    return full if os.environ.get("XMC_TESTS") == "full" else usual
