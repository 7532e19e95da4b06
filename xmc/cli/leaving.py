"""End a process without tearing its interpreter down, which would wait for threads, or break them."""

from __future__ import annotations

import errno
import os
import sys

NO_READER = 141  # what a shell says of a process that SIGPIPE ended: 128 + 13, on Windows too


def leave_at_once(code: str | int | None) -> None:
    """End this process now with this exit code; what was printed is out."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def no_reader_left(ended: SystemExit) -> bool:
    """Whether this end is click's, of a process whose output nobody reads any more, as in `xmc … | head -1`.

    Click gives it exit code 1, which is that of a check that failed.
    """
    cause = ended.__context__
    return ended.code == 1 and isinstance(cause, OSError) and cause.errno == errno.EPIPE
