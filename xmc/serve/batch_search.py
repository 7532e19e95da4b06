"""Answer several requests by as few searches as they allow; runs in the thread that searches.

Requests that ask for the same thing (k, filter, threshold, …) share one search over all their queries. The answers are
those that each would get alone: exact search answers the same bits at any batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from xmc.errors import XmcError
from xmc.retrieve.no_match import can_be_told
from xmc.serve.label_conditions import Condition, filter_of
from xmc.serve.prepared import require_calibrated, require_label_sets
from xmc.values import Hit

if TYPE_CHECKING:
    from xmc.retrieve.label_filter import LabelFilter
    from xmc.retrieve.passage_records import Records
    from xmc.retrieve.passages_now import PassagesNow
    from xmc.retrieve.retriever import Retriever


@dataclass(frozen=True)
class Wish:
    """How to search; requests with equal wishes can be searched together."""

    k: int
    min_probability: float | None = None
    condition: Condition | None = None
    sets: tuple[float, str] | None = None
    certify: bool = False
    vectors: bool = False


@dataclass(frozen=True, eq=False)
class Ask:
    """The queries of one request, texts or rows of vectors, and how to search for them."""

    queries: Sequence[Any]
    wish: Wish


@dataclass(frozen=True)
class Answer:
    """The hits of each query, whether it matches nothing (see `xmc.retrieve.no_match`), and whether they are proven.

    `searched_labels` is how many labels could have been hits, `generation` the state of the run that was searched, and
    `records` what is kept beside its labels, where that is read.
    """

    lists: list[list[Hit]]
    no_match: list[bool]
    certified: list[bool | None]
    searched_labels: int
    generation: str
    records: Records


def answer_batch(now: PassagesNow, asks: Sequence[Ask]) -> list[Answer | Exception]:
    """The answer to each request, or why there is none; a request that fails spoils no other."""
    answers: list[Answer | Exception | None] = [None] * len(asks)
    groups: dict[Wish, list[int]] = {}
    for place, ask in enumerate(asks):
        groups.setdefault(ask.wish, []).append(place)
    for wish, places in groups.items():
        for place, answer in zip(places, _answer_group(now, wish, [asks[p] for p in places]), strict=True):
            answers[place] = answer
    return [answer for answer in answers if answer is not None]


def _answer_group(now: PassagesNow, wish: Wish, asks: Sequence[Ask]) -> list[Answer | Exception]:
    try:
        whole = _search(now, wish, [query for ask in asks for query in ask.queries])
    except XmcError as error:
        return [error] if len(asks) == 1 else [_answer_group(now, wish, [ask])[0] for ask in asks]
    except Exception as error:  # the request must be answered whatever happened; the answer to it is 500
        return [error] * len(asks)
    answers: list[Answer | Exception] = []
    start = 0
    for ask in asks:
        stop = start + len(ask.queries)
        own = slice(start, stop)
        lists, unmatched, certified = whole.lists[own], whole.no_match[own], whole.certified[own]
        answers.append(replace(whole, lists=lists, no_match=unmatched, certified=certified))
        start = stop
    return answers


def _search(now: PassagesNow, wish: Wish, queries: Sequence[Any]) -> Answer:
    retriever: Retriever = now.searcher
    _require_prepared(retriever, wish)
    allowed = filter_of(wish.condition, now)
    searched = len(retriever.labels) if allowed is None else len(allowed)
    if wish.sets:
        alpha, risk = wish.sets
        lists = retriever.search_sets(queries, alpha=alpha, risk=risk, allowed=allowed)  # type: ignore[arg-type]
    elif wish.vectors:
        vectors_QD = torch.tensor(queries, dtype=torch.float32)
        lists = retriever.search_vectors(vectors_QD, k=wish.k, min_probability=wish.min_probability, allowed=allowed)
    else:
        lists = retriever.search(queries, k=wish.k, min_probability=wish.min_probability, allowed=allowed)
    can_tell = can_be_told(retriever)
    unmatched = [can_tell and bool(hits) and hits[0].score == 0 for hits in lists]
    certified = _certified(retriever, wish, queries, allowed)
    return Answer(lists, unmatched, certified, searched, retriever.generation, now.records)


def _require_prepared(retriever: Retriever, wish: Wish) -> None:
    """Refuse what the run was prepared for when the request was let in, and is no more in the state that is searched.

    Raises: RefusedError 409.
    """
    if wish.min_probability is not None:
        require_calibrated(retriever, "the threshold")
    if wish.sets:
        require_label_sets(retriever)


def _certified(
    retriever: Retriever, wish: Wish, queries: Sequence[Any], allowed: LabelFilter | None
) -> list[bool | None]:
    """Whether each list is proven to be the exact top k; None where that was not asked or cannot be told.

    It cannot after a second stage, whose order no index proves, nor under a filter of an approximate index.
    """
    from xmc.checks.exactness import answer

    if not wish.certify or retriever.reranking:
        return [None] * len(queries)
    if retriever.report.exact:
        return [True] * len(queries)
    if allowed is not None:
        return [None] * len(queries)
    vectors_QD = torch.tensor(queries, dtype=torch.float32) if wish.vectors else retriever.encode(queries)
    queries_QE = retriever.query_map.queries(vectors_QD) if retriever.query_map else vectors_QD
    _, proven_Q = answer(retriever, queries_QE, wish.k)
    return [bool(proven) for proven in proven_Q]
