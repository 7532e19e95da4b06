"""The outermost layer of the service: lets requests in, bounds their time, names them, counts them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from xmc.serve.access import ADMIN_PATHS
from xmc.serve.json_answers import refusal_response
from xmc.serve.refusals import RefusedError, overloaded, refusal_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from xmc.serve.access import Access

logger = logging.getLogger("xmc.serve")
SAFETY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """ASGI middleware; `count(route, status, seconds)` hears of every answer."""

    def __init__(
        self, app: ASGIApp, *, access: Access, request_s: float, count: Callable[[str, int, float], None]
    ) -> None:
        self._app = app
        self._access = access
        self._request_s = request_s
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s = time.perf_counter()
        answered = _Answered(send, secrets.token_hex(8))
        try:
            self._access.require(route_path(scope), dict(scope["headers"]))
            async with asyncio.timeout(self._request_s):
                await self._app(scope, receive, answered)
        except TimeoutError:
            late = f"there was no answer within {self._request_s:g} s."
            await _refuse(_given_up(scope, late), scope, receive, answered)
        except asyncio.CancelledError:  # by the server, when it stops and has waited long enough
            await _refuse(_given_up(scope, "the service is stopping."), scope, receive, answered)
        except Exception as error:
            await _refuse(error, scope, receive, answered)
        self._count(_route(scope), answered.status, time.perf_counter() - started_s)


def route_path(scope: Scope) -> str:
    """The path within this service, which may lie below another path: of a parent application, or of a proxy."""
    root, path = scope.get("root_path", ""), scope["path"]
    return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path


def _given_up(scope: Scope, message: str) -> RefusedError:
    if route_path(scope) in ADMIN_PATHS:  # what was begun goes on
        return RefusedError(504, "timed_out", f"{message} The change may have been made, or be made yet.")
    return overloaded(message)


class _Answered:
    """Sends on what the app answers, with the headers that every answer has, and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [(b"x-request-id", self.request_id.encode()), *SAFETY]
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)


async def _refuse(error: Exception, scope: Scope, receive: Receive, answered: _Answered) -> None:
    """Answer with an error, unless an answer is under way already, which then stays incomplete."""
    refused = refusal_of(error)
    if refused.status == 500:
        logger.error("request %s failed", answered.request_id, exc_info=error)
    if not answered.status:
        await refusal_response(refused)(scope, receive, answered)


def _route(scope: Scope) -> str:
    """The pattern of the route, never what the client wrote: the metrics must not grow with the requests."""
    route = scope.get("route")
    return getattr(route, "path", "none")
