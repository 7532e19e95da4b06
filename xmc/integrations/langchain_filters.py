"""LangChain's filters: keys and values, operators as other stores have them, or a function of a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xmc.errors import ConfigError
from xmc.integrations.extras import from_extra
from xmc.retrieve.written_filters import read_filter
from xmc.values import Passage

with from_extra("langchain", package="langchain-core"):
    from langchain_core.documents import Document

Filter = Mapping[str, Any] | Callable[[Document], bool]


def document_of(passage: Passage, metadata: dict[str, Any] | None = None) -> Document:
    """A passage as LangChain has it."""
    return Document(
        id=passage.id, page_content=passage.text, metadata=passage.metadata if metadata is None else metadata
    )


def keeper(filter: Filter | None) -> Callable[[Passage], bool] | None:
    """What a filter, keys and values or a function of a document, keeps.

    Raises: ConfigError for something else, and for an operator that there is not.

    >>> keeper({"page": {"$gt": 2}, "tag": "x"})(Passage("a", "apple", {"page": 3, "tag": "x"}))
    True
    """
    if filter is None:
        return None
    if callable(filter):
        return lambda passage: bool(filter(document_of(passage)))
    if not isinstance(filter, Mapping):
        raise ConfigError(f"a filter must be a dictionary or a function of a document, got {filter!r:.60}.")
    return read_filter(filter)
