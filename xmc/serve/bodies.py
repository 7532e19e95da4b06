"""Read the JSON body of a request within its limits, into a typed model."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from xmc.counted import counted
from xmc.serve.refusals import CLOSE, RefusedError, invalid_body

if TYPE_CHECKING:
    from pydantic import BaseModel
    from starlette.requests import Request

    from xmc.serve.limits import Limits

    ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_model(request: Request, model: type[ModelT], limits: Limits) -> ModelT:
    """The body as `model`.

    Raises: RefusedError 415 for another content type or a compressed body, 413 for too many bytes, 408 when they do not
    arrive in time, 422 for anything that the model does not allow, broken JSON among it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "unsupported_media_type", "the content type must be application/json.", headers=CLOSE)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "unsupported_media_type", "a body must not be compressed.", headers=CLOSE)
    body = await _read(request, limits)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_body(error, model.model_fields) from None


async def _read(request: Request, limits: Limits) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.body_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    count = 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                parts.append(part)
                count += len(part)
                if count > limits.body_bytes:
                    raise _too_large(limits)
    except TimeoutError:
        message = f"the body did not arrive within {limits.body_s:g} s."
        raise RefusedError(408, "body_timeout", message, headers=CLOSE) from None
    except ClientDisconnect:
        raise RefusedError(400, "disconnected", "the connection was closed before the body had arrived.") from None
    return b"".join(parts)


def _too_large(limits: Limits) -> RefusedError:
    message = f"the body has more than {counted(limits.body_bytes, 'byte')}, which is the limit (body_bytes)."
    return RefusedError(413, "body_too_large", message, headers=CLOSE)
