"""The bounds that a service is set to, checked on what a client asks for before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xmc.counted import counted
from xmc.retrieve.metadata_filters import OneOf
from xmc.retrieve.passage_records import to_json
from xmc.retrieve.query_checks import check_texts
from xmc.retrieve.written_filters import comparisons, read_filter
from xmc.serve.asks import LabelsAsk, SearchAsk
from xmc.serve.batch_search import Ask, Wish
from xmc.serve.label_conditions import MOST_CONDITIONS, Condition, Ids, Metadata, joined
from xmc.serve.refusals import invalid
from xmc.serve.served_run import LabelsChange

if TYPE_CHECKING:
    from xmc.retrieve.retriever import Retriever
    from xmc.serve.limits import Limits


def admit_search(asked: SearchAsk, retriever: Retriever, limits: Limits) -> Ask:
    """A search request as an `Ask`. Raises: RefusedError 422, DataError, NonFiniteError."""
    vectors = asked.vectors is not None
    queries = asked.vectors if asked.vectors is not None else asked.texts or []
    if asked.sets is None:
        admit_counts(len(queries), asked.k, limits)
    else:
        admit_count("queries", len(queries), limits, "queries")
        if label_sets := retriever.fitted.label_sets:
            admit_count("hits (queries times the largest set)", len(queries) * label_sets.most_labels, limits, "hits")
    if asked.vectors is not None:
        admit_vectors(asked.vectors, retriever)
    else:
        admit_texts(asked.texts or [], limits)
    conditions: list[Condition] = []
    if asked.allowed is not None:
        admit_count("allowed labels", len(asked.allowed), limits, "allowed_labels")
        conditions.append(Ids(tuple(asked.allowed), strict=True))
    if asked.filter is not None:
        conditions.append(admit_filter(asked.filter, limits))
    condition = joined("and", conditions) if conditions else None
    sets = (asked.sets.alpha, asked.sets.risk) if asked.sets else None
    return Ask(queries, Wish(asked.k, asked.min_probability, condition, sets, asked.certify, vectors))


def admit_labels(asked: LabelsAsk, limits: Limits) -> LabelsChange:
    """A change of labels. Raises: RefusedError 422, DataError."""
    argument = asked.ids if asked.labels is None else asked.labels
    admit_count("labels", len(argument or ()), limits, "labels")
    for label_id, text in (asked.labels or {}).items():
        admit_size(f"the text of label '{label_id:.60}'", text, limits)
    for label_id, kept in (asked.metadata or {}).items():
        admit_size(f"the metadata of label '{label_id:.60}'", to_json(kept, label_id=label_id), limits)
    return LabelsChange(asked.action, argument, asked.metadata)


def admit_filter(written: Mapping[str, Any], limits: Limits) -> Metadata:
    """A filter on metadata, of bounded work. Raises: RefusedError 422; as `read_filter`."""
    keep = read_filter(written)
    parts = list(comparisons(keep))
    if len(parts) > MOST_CONDITIONS:
        raise invalid(f"filter: there may be {MOST_CONDITIONS} conditions; $in and $nin take many values in one.")
    values = sum(len(part.values) for part in parts if isinstance(part, OneOf))
    admit_count("values of the filter", values, limits, "allowed_labels")
    return Metadata.of(keep)


def admit_counts(queries: int, k: int, limits: Limits) -> None:
    """Refuse too many queries, too large a k, or too many hits in all. Raises: RefusedError 422."""
    admit_count("queries", queries, limits, "queries")
    admit_count("k", k, limits, "k")
    admit_count("hits (queries times k)", queries * k, limits, "hits")


def admit_count(what: str, count: int, limits: Limits, name: str) -> None:
    """Refuse more than the limit of this name. Raises: RefusedError 422."""
    most = getattr(limits, name)
    if count > most:
        raise invalid(f"{what}: {count:,} is over the limit of {most:,} ({name}).")


def admit_texts(texts: Sequence[str], limits: Limits, *, what: str = "text") -> None:
    """Refuse texts that are blank, too long or not Unicode. Raises: RefusedError 422, DataError."""
    check_texts(texts, what=what)
    for row, text in enumerate(texts):
        admit_size(f"{what} {row}", text, limits)


def admit_size(what: str, text: str, limits: Limits) -> None:
    """Refuse a text that is too long. Raises: RefusedError 422."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > limits.text_bytes:
        raise invalid(f"{what} has {counted(size, 'byte')}, the limit is {limits.text_bytes:,} (text_bytes).")


def admit_vectors(vectors: Sequence[Sequence[float]], retriever: Retriever) -> None:
    """Refuse vectors of another width, and such as are not finite. Raises: RefusedError 422, NonFiniteError."""
    import torch

    from xmc.vectors import validate_vectors

    dimension = retriever.encoder.dimension
    for row, vector in enumerate(vectors):
        if len(vector) != dimension:
            raise invalid(f"vector {row} has {counted(len(vector), 'number')}, this run's queries have {dimension:,}.")
    validate_vectors(torch.tensor(vectors, dtype=torch.float32), what="query", dimension=dimension)
