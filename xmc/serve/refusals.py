"""What the service answers when it does not answer: one shape of error for every reason.

`{"error": {"code": ..., "message": ..., "type": ...}}` is the shape that OpenAI's clients read; the request's id is in
the header X-Request-ID. No answer holds a path, a traceback or what the client sent.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from xmc.errors import ArtifactError, ConfigError, DataError, LockedError, XmcError

RETRY = {"retry-after": "1"}
CLOSE = {"connection": "close"}
MESSAGE_CHARACTERS = 500
SHOWN_PROBLEMS = 3


class RefusedError(Exception):
    """A request that gets no answer, for a reason that the client can act on."""

    def __init__(self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def overloaded(message: str) -> RefusedError:
    """503: try again in a moment."""
    return RefusedError(503, "overloaded", message, headers=RETRY)


def too_many_waiting(most: int) -> RefusedError:
    """503: so many requests wait already."""
    return overloaded(f"{most} requests are waiting already; try again in a moment.")


def invalid(message: str) -> RefusedError:
    """422: the request is well formed and asks for what cannot be."""
    return RefusedError(422, "invalid_request", message)


def invalid_body(error: ValidationError, fields: Collection[str]) -> RefusedError:
    """422: a body is not as it may be; `fields` are those that it may have."""
    return invalid(_problems(error, fields))


def answer_too_large(most: int) -> RefusedError:
    """422: what was asked for is more than an answer may hold."""
    message = f"the answer is over the limit of {most:,} bytes (answer_bytes); ask for fewer queries, or a smaller k."
    return RefusedError(422, "answer_too_large", message)


def refusal_of(error: Exception) -> RefusedError:
    """Any error as what the client is told; what is not the client's to know becomes 500 `internal_error`."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, LockedError):
        return RefusedError(503, "locked", "another process is changing this run; try again.", headers=RETRY)
    if isinstance(error, (DataError, ConfigError)):
        return invalid(error.message)
    if isinstance(error, MemoryError):
        return overloaded("there is not enough memory for this request now.")
    if isinstance(error, ArtifactError):
        return RefusedError(
            500, "damaged", "the stored run could not be read; its operator finds the reason in the log."
        )
    message = "this could not be done; its operator finds the reason in the log."
    return RefusedError(500, "unavailable" if isinstance(error, XmcError) else "internal_error", message)


def refusal_response(refused: RefusedError) -> Response:
    """The answer to a refused request."""
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    body = {"error": {"code": refused.code, "message": refused.message[:MESSAGE_CHARACTERS], "type": kind}}
    return json_response(body, status=refused.status, headers=refused.headers)


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(to_json(body), status_code=status, headers=dict(headers or {}), media_type="application/json")


async def json_list_response(
    body: dict[str, Any], name: str, items: Iterable[Any], *, most_bytes: int, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer with a long list as its last member, written item by item: others are answered in between.

    Raises: RefusedError 422 as soon as the list has more than `most_bytes`.
    """
    parts, size = [], 0
    for item in items:
        parts.append(to_json(item))
        size += len(parts[-1])
        if size > most_bytes:
            raise answer_too_large(most_bytes)
        await asyncio.sleep(0)
    content = b"%s,%s:[%s]}" % (to_json(body)[:-1], to_json(name), b",".join(parts))
    return Response(content, media_type="application/json", headers=dict(headers or {}))


def to_json(body: Any) -> bytes:
    """JSON in UTF-8; NaN is an error here, not a word in it."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _problems(error: ValidationError, fields: Collection[str]) -> str:
    """The first problems of a body by place; what the client sent is not repeated.

    The place in a list is kept, `texts.3: Input should be a valid string`; which of several types was meant is not.
    """
    found = error.errors(include_url=False, include_input=False)
    shown = [f"{_place(problem['loc'])}: {_reason(problem, fields)}" for problem in found]
    more = f"; and {len(shown) - SHOWN_PROBLEMS} more" if len(shown) > SHOWN_PROBLEMS else ""
    return "; ".join(shown[:SHOWN_PROBLEMS]).encode("utf-8", "replace").decode() + more + "."


def _place(parts: Iterable[int | str]) -> str:
    """Where in a body: `documents.3.text`. Names in angle brackets are those of types, see `compat_asks`."""
    return ".".join(str(part) for part in parts if not str(part).startswith("<")) or "body"


def _reason(problem: Any, fields: Collection[str]) -> str:
    """Pydantic's sentence, without its own words for how it came to it."""
    if problem["type"] == "extra_forbidden":
        known = f"; there are {', '.join(fields)}" if len(problem["loc"]) == 1 else ""
        return f"there is no such field{known}"
    if problem["type"] == "union_tag_invalid":
        return f"{problem['ctx']['discriminator']} must be one of {problem['ctx']['expected_tags']}"
    if problem["type"] == "union_tag_not_found":
        return f"{problem['ctx']['discriminator']} is missing or not a text"
    return str(problem["msg"]).removeprefix("Value error, ")
