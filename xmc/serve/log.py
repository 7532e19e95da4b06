"""The log of the command `xmc serve`: one line for each thing that an operator may look for, with its time."""

from __future__ import annotations

import logging
import time


class _UtcFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)


def log_to_stderr() -> None:
    """Write what the service and its server log to the error stream, from `INFO` on, times in UTC.

    Only for a program of its own: a library leaves the set-up of logging to who uses it.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_UtcFormatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    for name, level in (("xmc.serve", logging.INFO), ("uvicorn.error", logging.ERROR)):  # a bad request is no error
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
