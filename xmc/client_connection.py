"""A connection to `xmc serve`: requests that are tried again, answers that are read or raised as errors."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xmc.counted import counted
from xmc.errors import ArtifactError, ConfigError, DataError, ServiceError, XmcError

if TYPE_CHECKING:
    import httpx

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
BUSY = (429, 503)  # nothing was done
NO_SERVICE = 502  # said by a proxy, while the service starts; or it was there, and something was done
JSON_HEADERS = {"content-type": "application/json"}


class AnswerTooLargeError(DataError):
    """Fewer queries would have an answer within the service's limit."""


class Connection:
    """A service by its address; safe to use from several threads."""

    def __init__(self, url: str, *, token: str, timeout_s: float, retries: int) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            raise ConfigError(
                "xmc.Client needs the package 'httpx', which is not installed.",
                hint="Install: pip install 'xmc-engine[client]'",
            ) from None
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"the address of a service begins with http:// or https://, got '{url}'.")
        if retries < 0:
            raise ConfigError(f"retries must be at least 0, got {retries}.")
        token = token.strip()  # one that was read from a file ends with a new line
        if not token.isprintable():
            raise ConfigError("the token has a control character in it.", hint="Give what the token's file holds.")
        headers = {b"authorization": f"Bearer {token}".encode()} if token else {}  # the service reads UTF-8
        try:
            self.http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise ConfigError(
                f"'{url}' is no address of a service: {error}.",
                hint="Write http://HOST:PORT, such as http://127.0.0.1:8000",
            ) from None
        self.url = url
        self._retries = retries

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool = True) -> Any:
        """The body of the answer to a request, tried again where that can help and cannot do harm.

        A request that is not `repeatable` is tried again only if it was certainly not done.
        Raises: ServiceError when there is no answer; the error that an answer tells of.
        """
        import httpx

        content = None if body is None else to_json(body)
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                answer = self.http.request(method, path, content=content, headers=JSON_HEADERS)
            except httpx.TransportError as error:
                never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
                if last or not (repeatable or never_sent):
                    raise self._unreachable(error, attempt + 1) from None
            else:
                again = answer.status_code in BUSY or (repeatable and answer.status_code == NO_SERVICE)
                if last or not again:
                    return _read(answer, self.url)
                pause_s = max(pause_s, _retry_after_s(answer))
            time.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: Exception, tries: int) -> ServiceError:
        return ServiceError(
            f"{self.url} did not answer in {counted(tries, 'try')}: {str(error) or type(error).__name__}.",
            hint="Is it running? xmc serve --run RUN",
        )


def to_json(body: Any) -> bytes:
    """JSON in UTF-8. Raises: DataError for what JSON cannot hold."""
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_number).encode()
    except (TypeError, ValueError, RuntimeError) as error:  # of bad Unicode, too, and of a tensor of several numbers
        raise DataError(f"this cannot be sent: {error}.", hint="Texts must be valid Unicode, numbers finite.") from None


def _number(value: Any) -> Any:
    """A number of numpy as Python's, which JSON can hold."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _retry_after_s(answer: httpx.Response) -> float:
    given = answer.headers.get("retry-after", "")
    return min(LONGEST_PAUSE_S, float(given)) if given.isdecimal() else 0.0


class _Answer(dict[str, Any]):
    """The body of an answer, in which all is there that was asked for."""

    def __missing__(self, name: str) -> Any:
        raise _foreign(name)


def _foreign(name: str = "") -> ServiceError:
    lacks = f": it has no '{name}'" if name else ""
    return ServiceError(f"what was answered is no answer of `xmc serve`{lacks}.", hint="Is the address the right one?")


def _read(answer: httpx.Response, url: str) -> _Answer:
    """The body of an answer. Raises: the error that it tells of; ServiceError for one of another server."""
    try:
        body = answer.json()
    except ValueError:
        raise ServiceError(f"{url} answered {answer.status_code} without JSON.", status=answer.status_code) from None
    if answer.is_success:
        if not isinstance(body, dict):
            raise _foreign()
        return _Answer(body)
    told = body.get("error") if isinstance(body, dict) else None
    raise _error(answer.status_code, told if isinstance(told, dict) else {})


def _error(status: int, told: Mapping[str, Any]) -> XmcError:
    message, code = str(told.get("message", f"the service answered {status}.")), str(told.get("code", ""))
    if status in (413, 422):
        return AnswerTooLargeError(message) if code == "answer_too_large" else DataError(message)
    if status == 409:
        return ArtifactError(message)
    return ServiceError(message, status=status, code=code)
