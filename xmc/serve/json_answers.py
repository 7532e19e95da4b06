"""What the service answers, as JSON: a body, a body with a long list, a refusal.

A refusal is `{"error": {"code": ..., "message": ..., "type": ...}}`, the shape that OpenAI's clients read; the
request's id is in the header X-Request-ID.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.responses import Response

from xmc.serve.refusals import RefusedError, answer_too_large

GENERATION = "X-XMC-Generation"
MESSAGE_CHARACTERS = 500


def json_response(
    body: Any, *, generation: str | None = None, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer; `generation` is the state of the run that it is of, if it is of one."""
    return _response(to_json(body), generation, status=status, headers=headers)


async def json_list_response(
    body: dict[str, Any], name: str, items: Iterable[Any], *, most_bytes: int, generation: str | None = None
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
    return _response(b"%s,%s:[%s]}" % (to_json(body)[:-1], to_json(name), b",".join(parts)), generation)


def refusal_response(refused: RefusedError) -> Response:
    """The answer to a refused request."""
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    body = {"error": {"code": refused.code, "message": refused.message[:MESSAGE_CHARACTERS], "type": kind}}
    return json_response(body, status=refused.status, headers=refused.headers)


def to_json(body: Any) -> bytes:
    """JSON in UTF-8; NaN is an error here, not a word in it."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _response(
    content: bytes, generation: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    told = {} if generation is None else {GENERATION: generation}
    return Response(content, status_code=status, headers={**told, **(headers or {})}, media_type="application/json")
