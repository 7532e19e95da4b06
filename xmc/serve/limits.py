"""How much a client may ask for and how long it may take: every bound of the service, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import inf

from xmc.errors import ConfigError, did_you_mean
from xmc.retrieve.query_checks import MAX_K


@dataclass(frozen=True)
class Limits:
    """The bounds of one service. What is over a bound is refused with a message that names it.

    Sizes: `body_bytes` and `header_bytes` of a request, `text_bytes` of one text in UTF-8, `queries` (or texts, or
    documents) of one request, `k`, `hits` = queries times k, `allowed_labels` of one filter, `labels` of one change,
    `answer_bytes` of an answer with hits or embeddings.
    Seconds: `header_s` and `body_s` for a request to arrive, `request_s` for its answer, `keep_alive_s` for an idle
    connection, `drain_s` for requests under way when the service stops.
    Load: `waiting` requests before more are sent away with 503, `connections` at a time.
    """

    body_bytes: int = 2**20
    header_bytes: int = 16 * 2**10
    text_bytes: int = 32 * 2**10
    queries: int = 64
    k: int = 1_000
    hits: int = 100_000
    allowed_labels: int = 10_000
    labels: int = 1_000
    answer_bytes: int = 64 * 2**20
    header_s: float = 10.0
    body_s: float = 15.0
    request_s: float = 30.0
    keep_alive_s: float = 5.0
    drain_s: float = 10.0
    waiting: int = 256
    connections: int = 1_024

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < getattr(self, field.name) < inf:
                raise ConfigError(f"limit {field.name} must be above 0 and finite, got {getattr(self, field.name)}.")
        if self.k > MAX_K:
            raise ConfigError(f"limit k must be at most {MAX_K:,}, got {self.k:,}.")


def read_limits(words: Sequence[str]) -> Limits:
    """The limits with `NAME=VALUE` settings applied.

    Raises: ConfigError for an unknown name and for a value that is no positive number.

    >>> read_limits(["k=50", "body_s=2.5"]).k
    50
    """
    types = {field.name: int if field.type == "int" else float for field in fields(Limits)}
    changes: dict[str, float] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in types:
            known = ", ".join(types)
            raise ConfigError(f"'{word}' is not NAME=VALUE of a limit: {known}.", hint=did_you_mean(name, types))
        try:
            changes[name] = types[name](value)
        except ValueError:
            raise ConfigError(f"limit {name} must be a number ({types[name].__name__}), got '{value}'.") from None
    return replace(Limits(), **changes)  # type: ignore[arg-type]
