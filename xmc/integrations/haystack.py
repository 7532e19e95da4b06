"""xmc in Haystack: a retriever component over a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

from xmc.errors import ConfigError
from xmc.integrations.extras import from_extra
from xmc.integrations.passages import Passages, lasting
from xmc.retrieve.metadata_filters import Joined, LookedUp, Not, OfValue, OneOf
from xmc.values import Passage

with from_extra("haystack", package="haystack-ai"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.errors import FilterError
    from haystack.utils.filters import document_matches_filter

DOCUMENT_FIELDS = frozenset(field.name for field in fields(Document))
EQUALITIES = ("==", "!=", "in", "not in")
ORDERS: dict[str, Callable[[Any, Any], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le}
WRITTEN = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}  # as a service is asked
NUMBERS = (int, float)
NOTHING = Document(id="-")  # to ask a filter of, before there is anything that it must be asked of


@component
class XmcRetriever:
    """The best passages of a run for a query; none where nothing reaches `min_probability`.

    `retriever` is a run folder, which is then followed when it changes, a `Retriever`, a `Client`, or anything with
    their `search`; a folder is opened at `warm_up`, or else at the first query. `allowed` are label ids, `filters`
    those of Haystack on the metadata. A document's score is the probability, before `xmc check calibrate` the score of
    the label; its meta are what was kept with the label, and `score`, `rank` and `probability` (None before).

    >>> XmcRetriever("runs/a", top_k=3, min_probability=0.5).run("a question")["documents"]  # doctest: +SKIP
    """

    def __init__(
        self,
        retriever: Any,
        *,
        top_k: int = 10,
        min_probability: float | None = None,
        allowed: list[str] | None = None,
        filters: dict[str, Any] | None = None,
    ) -> None:
        self.retriever = retriever
        self.top_k = top_k
        self.min_probability = min_probability
        self.allowed = lasting(allowed)
        self.filters = filters
        self._passages: Passages | None = None

    def warm_up(self) -> None:
        """Open the run. Raises: as `Passages`."""
        self._opened()

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]  # mypy skips haystack
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        min_probability: float | None = None,
        allowed: list[str] | None = None,
    ) -> dict[str, list[Document]]:
        """The documents for a query; what is given here goes before what the component was made with.

        Raises: as `Retriever.search`.
        """
        found = self._opened().search(
            query,
            k=self.top_k if top_k is None else top_k,
            min_probability=self.min_probability if min_probability is None else min_probability,
            allowed=self.allowed if allowed is None else allowed,
            keep=_keeper(filters or self.filters),
        )
        return {"documents": [_document(passage, passage.facts()) for passage in found]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]  # mypy skips haystack
    async def run_async(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        min_probability: float | None = None,
        allowed: list[str] | None = None,
    ) -> dict[str, list[Document]]:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, query, filters, top_k, min_probability, allowed)

    def to_dict(self) -> dict[str, Any]:
        """The component as plain values. Raises: ConfigError when it was made with something else than a run folder."""
        if not isinstance(self.retriever, (str, Path)):
            raise ConfigError(
                f"only a retriever over a run folder can be written down, this one has a "
                f"{type(self.retriever).__name__}.",
                hint="Make it with the path of the run.",
            )
        return default_to_dict(
            self,
            retriever=str(self.retriever),
            top_k=self.top_k,
            min_probability=self.min_probability,
            allowed=self.allowed,
            filters=self.filters,
        )

    def _opened(self) -> Passages:
        if self._passages is None:
            self._passages = Passages(self.retriever)
        return self._passages

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> XmcRetriever:
        """The component that `to_dict` wrote."""
        return default_from_dict(cls, data)


def _document(passage: Passage, meta: dict[str, Any]) -> Document:
    score = passage.hit.shown_score if passage.hit else None
    return Document(id=passage.id, content=passage.text, meta=meta, score=score)


def _keeper(filters: dict[str, Any] | None) -> Callable[[Passage], bool] | None:
    if not filters:
        return None
    return _metadata_filter(filters) or (lambda passage: _matches(filters, _document(passage, passage.metadata)))


def _metadata_filter(filters: dict[str, Any]) -> LookedUp | None:
    """A filter of Haystack as one that is looked up; None where it asks of more than the metadata, or for odd values.

    Raises: FilterError for one that is broken.
    """
    _matches(filters, NOTHING)
    if "field" in filters:
        return _comparison(filters)
    parts = [_metadata_filter(each) for each in filters["conditions"]]
    known = tuple(part for part in parts if part is not None)
    if len(known) < len(parts):
        return None
    joined = Joined("or" if filters["operator"] == "OR" else "and", known)
    return Not(joined) if filters["operator"] == "NOT" else joined


def _comparison(condition: dict[str, Any]) -> LookedUp | None:
    field, operator, value = condition["field"], condition["operator"], condition["value"]
    if not all(map(_is_plain, value if isinstance(value, list) else [value])):
        return None
    root, *path = field.split(".")
    if (root != "meta" or not path) and (path or root in DOCUMENT_FIELDS):
        return None
    key = path[0] if path else field  # older filters leave out `meta.`
    if operator in EQUALITIES and len(path) <= 1:
        values = value if operator in ("in", "not in") else [value]
        if all(map(_equals_itself_only, values)):
            found = OneOf(key, tuple(values))
            return found if operator in ("==", "in") else Not(found)
    order = ORDERS.get(operator) if len(path) <= 1 and type(value) in NUMBERS else None

    def holds(there: Any) -> bool:
        if order and type(there) in NUMBERS:  # as Haystack compares them, without a document for each of many values
            return order(there, value)
        return _matches(condition, Document(id="-", meta={key: there}))

    written = {key: {WRITTEN[operator]: value}} if order else None
    return OfValue(key, holds, repr((field, operator, value)), written)


def _matches(filters: dict[str, Any], document: Document) -> bool:
    """Whether a document passes. Raises: FilterError, also where its value cannot be compared."""
    try:
        return bool(document_matches_filter(filters, document))
    except (FilterError, TypeError, OverflowError) as error:
        of = f" of a document with the meta {document.meta!r:.200}" if document.meta else ""
        raise FilterError(f"the filter {filters!r:.200} cannot be asked{of}: {error}") from error


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, int, float, bool, datetime)


def _equals_itself_only(value: Any) -> bool:
    """Whether Haystack takes nothing else for equal: None is a missing key, a date the same moment in other words."""
    return not value[:4].isdigit() if isinstance(value, str) else type(value) in (int, float, bool)
