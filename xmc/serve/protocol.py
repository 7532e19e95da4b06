"""uvicorn's HTTP protocol with bounds on how long the head of a request may take and how large it may be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from xmc.serve.limits import Limits


class BoundedProtocol(HttpToolsProtocol):
    """A connection; `bounded_protocol` gives the class its limits.

    A connection whose request head is not complete after `header_s`, or is larger than `header_bytes`, is closed, and
    so is one beyond `connections`: before a request has been read there is nobody to explain it to.
    """

    limits: ClassVar[Limits]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the time for the first head."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then look whether the head is still within bounds."""
        counted = self._head_bytes + len(data) if self._in_head else 0  # a head without an end has no header yet
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes = max(self._head_bytes, counted)
            self._bound_head()
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()  # bytes after an answer end the keep-alive time, whether or not they begin a request

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._deadline is None:  # a further request on the same connection
            self._await_head()

    def on_url(self, url: bytes) -> None:
        """Count its target."""
        super().on_url(url)
        self._head_bytes += len(url)
        self._bound_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4
        self._bound_head()

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        self._head_arrived()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.limits.header_s, self.transport.abort)

    def _head_arrived(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _bound_head(self) -> None:
        if self._head_bytes > self.limits.header_bytes:
            self.transport.abort()


def bounded_protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol class for a service with these limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
