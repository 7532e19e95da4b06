"""Whether anybody listens at the address of a scheduler, asked before anything is done: Ray would try for minutes."""

from __future__ import annotations

import contextlib
import socket
import time
from urllib.parse import urlsplit

from xmc.errors import PeerError

WAIT_S = 30.0  # a cluster may be starting
PAUSE_S = 0.5


def require_reachable(address: str, *, wait_s: float = WAIT_S) -> None:
    """Wait until the host and port of an address take connections; an address without both is not looked at.

    Raises: PeerError with the last reason when none did in time.
    """
    place = host_and_port(address)
    deadline = time.monotonic() + wait_s
    while place:
        try:
            socket.create_connection(place, timeout=max(0.1, deadline - time.monotonic())).close()
        except OSError as error:
            if time.monotonic() + PAUSE_S < deadline:
                time.sleep(PAUSE_S)
                continue
            raise PeerError(
                f"nobody answers at --scheduler {address} within {wait_s:g} s: {error.strerror or error}.",
                hint="Is the address right, the cluster up, and the port open from here?",
            ) from error
        return


def host_and_port(address: str) -> tuple[str, int] | None:
    """The two parts of an address, None where it has not both.

    >>> host_and_port("ray://10.0.0.1:10001"), host_and_port("head:6379"), host_and_port("auto")
    (('10.0.0.1', 10001), ('head', 6379), None)
    """
    with contextlib.suppress(ValueError):  # a port that is no number; the engine says so
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.hostname and parts.port:
            return parts.hostname, parts.port
    return None
