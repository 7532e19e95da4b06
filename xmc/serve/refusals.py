"""Why the service refuses a request, as far as the client is told: no path, no traceback, nothing that it sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from xmc.counted import counted
from xmc.errors import ArtifactError, ConfigError, DataError, LockedError, XmcError

RETRY = {"retry-after": "1"}
CLOSE = {"connection": "close"}
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
    return overloaded(f"{counted(most, 'request is', 'requests are')} waiting already; try again in a moment.")


def invalid(message: str) -> RefusedError:
    """422: the request is well formed and asks for what cannot be."""
    return RefusedError(422, "invalid_request", message)


def invalid_body(error: ValidationError, fields: Collection[str]) -> RefusedError:
    """422: a body is not as it may be; `fields` are those that it may have."""
    return invalid(_problems(error, fields))


def answer_too_large(most: int) -> RefusedError:
    """422: what was asked for is more than an answer may hold."""
    message = (
        f"the answer is over the limit of {counted(most, 'byte')} (answer_bytes); ask for fewer queries, or "
        "a smaller k."
    )
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
