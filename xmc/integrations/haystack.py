"""xmc in Haystack: a retriever component over a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from xmc.errors import ConfigError
from xmc.integrations.extras import from_extra
from xmc.integrations.passages import Equals, Passage, Passages, lasting

with from_extra("haystack", package="haystack-ai"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils.filters import document_matches_filter


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
    if wanted := _plain_values(filters):
        return Equals(wanted)
    return lambda passage: document_matches_filter(filters, _document(passage, passage.metadata))


def _plain_values(filters: dict[str, Any]) -> dict[str, Any]:
    """What is asked, as values by key of the metadata, where that is all that is asked; empty where it is not."""
    wanted: dict[str, Any] = {}
    for each in filters.get("conditions", []) if filters.get("operator") == "AND" else [filters]:
        root, _, key = str(each.get("field")).partition(".")
        is_equality = root == "meta" and each.get("operator") == "==" and _equals_itself_only(each.get("value"))
        if not is_equality or not key or "." in key or key in wanted:
            return {}
        wanted[key] = each["value"]
    return wanted


def _equals_itself_only(value: Any) -> bool:
    """Whether Haystack takes nothing else for equal: None is a missing key, a date the same moment in other words."""
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return True
        return False
    return isinstance(value, int | float)
