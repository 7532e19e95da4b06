"""Tell the C library's allocator to keep freed memory for the next step instead of giving it back to the system."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names and numbers of glibc's malloc.h
KEEP_BYTES = 2**30


def keep_freed_memory() -> None:
    """Blocks below 1 GB are reused without fresh pages; training asks for the same large blocks at every step.

    Without it a step over many labels spends about a quarter of its processor time in page faults. It changes the whole
    process, so only the command line does it. Elsewhere than under glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, KEEP_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
