"""How the command ends: without tearing its interpreter down where that would hang, and quietly where nobody reads."""

from __future__ import annotations

import os
import sys

NOBODY_READS = 128 + 13  # what a shell says of a command that SIGPIPE ended


def leave_at_once(code: str | int | None) -> None:
    """End this process now with this exit code; what was printed is out."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def code_for_shell(ended: SystemExit | BrokenPipeError) -> str | int | None:
    """The exit code of a command that ends so: its own, or that of SIGPIPE where its reader went before it had all.

    Click and rich both give 1 for that, which is the code of a check that failed. Python itself does not let SIGPIPE
    end it, since then a worker or a server that hangs up would end the command as well.
    """
    cut_short = isinstance(ended, BrokenPipeError) or isinstance(ended.__context__, BrokenPipeError)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        cut_short = True
    if isinstance(ended, SystemExit) and not cut_short:
        return ended.code
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # else Python would say at its end that it cannot write what is left
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return NOBODY_READS
