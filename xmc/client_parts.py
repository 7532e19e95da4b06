"""Much is asked of a service in parts that keep to its limits for one request and one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from xmc.client_connection import AnswerTooLargeError, Connection, to_json
from xmc.errors import DataError

BESIDE_BYTES = 256  # of a body, for names and brackets
Ask = Callable[[list[Any]], list[Any]]  # queries -> the answer to each


class InParts:
    """Asks a service, whose limits it reads when more than one query is asked for the first time."""

    def __init__(self, service: Connection) -> None:
        self._service = service
        self._limits: Mapping[str, float] = {}

    def ask(
        self, queries: Sequence[Any], ask: Ask, *, k: Any = 1, beside: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The answers of `ask` to the queries, k hits each, of which a request has `beside`.

        Once more if they are refused and the service has other limits than it had. Raises: what `ask` raises.
        """
        remembered = self._limits
        try:
            return self._answers(queries, ask, k, beside or {})
        except DataError:  # what was asked for may be over the limits
            if not remembered or (limits := self._read_limits()) == remembered:
                raise
            self._limits = limits
        return self._answers(queries, ask, k, beside or {})

    def _answers(self, queries: Sequence[Any], ask: Ask, k: Any, beside: Mapping[str, Any]) -> list[Any]:
        return [answer for part in self._parts(queries, k, beside) for answer in _halved(part, ask)]

    def _parts(self, queries: Sequence[Any], k: Any, beside: Mapping[str, Any]) -> Iterator[list[Any]]:
        """The queries in parts that keep to the limits; a query that is too large by itself is a part of its own."""
        if len(queries) > 1 and not self._limits:
            self._limits = self._read_limits()
        most = min(self._limits.get("queries", 1), self._limits.get("hits", 1) // max(1, k))
        room = self._limits.get("body_bytes", 0) - len(to_json(beside)) - BESIDE_BYTES
        part: list[Any] = []
        left = room
        for query in queries:
            size = len(to_json(query)) + 1
            if part and (len(part) >= most or size > left):
                yield part
                part, left = [], room
            part.append(query)
            left -= size
        if part:
            yield part

    def _read_limits(self) -> Mapping[str, float]:
        limits: Mapping[str, float] = self._service.send("GET", "/v1/runs")["limits"]
        return limits


def _halved(queries: list[Any], ask: Ask) -> list[Any]:
    """The answers to the queries, asked for in halves where the answer to all would be larger than the service gives.

    Raises: DataError where that to a single one is.
    """
    try:
        return ask(queries)
    except AnswerTooLargeError:
        if len(queries) == 1:
            raise
    half = len(queries) // 2
    return _halved(queries[:half], ask) + _halved(queries[half:], ask)
