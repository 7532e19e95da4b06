"""Run the service: bind, answer, stop when told to."""

from __future__ import annotations

import signal
import socket
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from xmc.errors import ConfigError
from xmc.serve.protocol import bounded_protocol

if TYPE_CHECKING:
    from fastapi import FastAPI

    from xmc.serve.limits import Limits

BACKLOG = 512


def bind(host: str, port: int) -> socket.socket:
    """A socket to listen on; port 0 takes any that is free. Raises: ConfigError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where a socket names TCP: without it every answer waits 40 ms for an ACK
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise _not_to_be_had(host, port, error) from None
    listening.set_inheritable(True)
    return listening


def run_server(
    app: FastAPI, listening: socket.socket, *, limits: Limits, started: Callable[[], None] = lambda: None
) -> None:
    """Answer on a bound socket until SIGTERM, SIGINT or SIGHUP; then end requests that are under way, and return.

    `started` is called when connections are accepted. Raises: ConfigError when another process listens there already:
    two that start together can both bind, since neither listens before its runs are open.
    """
    try:
        listening.listen(BACKLOG)
    except OSError as error:
        host, port, *_ = listening.getsockname()
        raise _not_to_be_had(host, port, error) from None
    config = uvicorn.Config(
        app,
        http=bounded_protocol(limits),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]  # its timers take parts of a second
        timeout_graceful_shutdown=limits.drain_s,  # type: ignore[arg-type]
    )
    server = _Server(config, started)
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it; uvicorn itself does not ask for this one
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, server.handle_exit)
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _not_to_be_had(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot listen on {host} port {port}: {error.strerror or error}.",
        hint="Choose another with --port, or 0 for any that is free.",
    )


def _ignore(number: int, frame: types.FrameType | None) -> None:
    """uvicorn raises the signal again when it has stopped; by then all is done, and the exit code is 0."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets=sockets)
        if self.force_exit:  # by a second Ctrl-C, after which uvicorn leaves the app as it is
            await self.lifespan.shutdown()
