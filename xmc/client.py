"""Search a running `xmc serve` as if its run were opened here: calls of `Retriever`, with the same return types."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from xmc.client_connection import Connection
from xmc.client_parts import InParts
from xmc.errors import DataError, ServiceError, XmcWarning
from xmc.retrieve.no_match import NO_MATCH
from xmc.retrieve.query_checks import require_ids, require_list
from xmc.values import Hit, Passage
from xmc.vectors import validate_vectors

if TYPE_CHECKING:
    from types import TracebackType

    from torch import Tensor

    from xmc.engine.labels_report import LabelsReport


class Client:
    """A connection to a service; safe to use from several threads.

    `run` names one of the service's runs, its first one if empty. A request is tried again, up to `retries` times with
    growing pauses, when the service is too busy or cannot be reached; `timeout_s` bounds each try. What is larger than
    the service's limits for one request or answer is asked for in parts.
    Raises (all calls): ServiceError when there is no answer, or no permission; DataError for what cannot be asked;
    ArtifactError for what the run is not prepared for.

    >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     client.search(["heart attack"], k=3)
    """

    def __init__(self, url: str, *, run: str = "", token: str = "", timeout_s: float = 30.0, retries: int = 4) -> None:
        self._service = Connection(url, token=token, timeout_s=timeout_s, retries=retries)
        self._run = run
        self._parts = InParts(self._service)

    def __repr__(self) -> str:
        return f"<Client of {self._run or 'the first run'} at {self._service.url}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    def search(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[list[Hit]]:
        """The best k labels of each text; see `Retriever.search`.

        In this and the other searches `filter` leaves only labels whose metadata have these values; in place of a value
        may stand operators such as `$gt`, as in docs/rag.md.
        """
        options = _among(allowed, filter) | {"k": k, "min_probability": min_probability}
        return _hits(self._search("texts", _texts(texts), **options))

    def search_passages(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[list[Passage]]:
        """`search`, with the metadata that are kept beside each hit; empty where there are none."""
        options = _among(allowed, filter) | {"k": k, "min_probability": min_probability}
        found = self._search("texts", _texts(texts), metadata=True, **options)
        return [[_passage(**hit) for hit in hits] for hits in found]

    def search_vectors(
        self,
        queries_QD: Tensor,
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[list[Hit]]:
        """The best k labels of each query embedding; see `Retriever.search_vectors`."""
        vectors = validate_vectors(queries_QD, what="query").tolist()
        options = _among(allowed, filter) | {"k": k, "min_probability": min_probability}
        return _hits(self._search("vectors", vectors, **options))

    def search_sets(
        self,
        texts: Sequence[str],
        *,
        alpha: float = 0.1,
        risk: str = "false-negatives",
        allowed: Iterable[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> list[list[Hit]]:
        """For each text as many labels as it takes; see `Retriever.search_sets`."""
        texts, sets = _texts(texts), {"alpha": alpha, "risk": risk}
        largest = (self.describe()["largest_set"] or 1) if len(texts) > 1 else 1
        return _hits(self._search("texts", texts, most_hits=largest, sets=sets, **_among(allowed, filter)))

    def threshold(
        self, *, precision: float | None = None, recall: float | None = None, false_positive_rate: float | None = None
    ) -> float:
        """The `min_probability` for the one given precision, recall or rate; see `Retriever.threshold`."""
        aims = {"precision": precision, "recall": recall, "false_positive_rate": false_positive_rate}
        asked: dict[str, Any] = {name: value for name, value in aims.items() if value is not None}
        found: float = self._post("/v1/threshold", asked | ({"run": self._run} if self._run else {}))["threshold"]
        return found

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Query embeddings (Q, D) of texts; see `Retriever.encode`."""
        import base64

        import numpy as np
        import torch

        asked = {"encoding_format": "base64"} | ({"model": self._run} if self._run else {})
        rows = self._parts.ask(
            _texts(texts), lambda some: list(self._post("/v1/embeddings", {"input": some, **asked})["data"])
        )
        if not rows:
            return torch.zeros(0, self.describe()["dimension"])
        raw = b"".join(base64.b64decode(row["embedding"]) for row in rows)
        return torch.from_numpy(np.frombuffer(raw, "<f4").reshape(len(rows), -1).copy())

    @property
    def generation(self) -> str:
        """A name for the committed state that answers come from now; see `Retriever.generation`."""
        found: str = self.describe()["generation"]
        return found

    def describe(self) -> dict[str, Any]:
        """The run's sizes and abilities. Raises: ServiceError when the service has no run of this name."""
        runs = self._service.send("GET", "/v1/runs")["runs"]
        found: dict[str, Any] | None = next((run for run in runs if self._run in ("", run["name"])), None)
        if found is None:
            names = ", ".join(run["name"] for run in runs)
            raise ServiceError(f"{self._service.url} has no run '{self._run}'; it has: {names}.", status=404)
        return found

    def add_labels(
        self, labels: Mapping[str, str], *, metadata: Mapping[str, Mapping[str, Any]] | None = None
    ) -> LabelsReport:
        """Add labels, id to text, for which the client's token must be that of an admin; see `LabelEditor.add`.

        `metadata`, by label id, are kept beside the texts; beside the labels that they leave out nothing is kept. In
        `put_labels` and `replace_labels` what is kept stays as it is where no `metadata` are given.
        """
        return self._edit("add", **_labels(labels, metadata))

    def put_labels(
        self, labels: Mapping[str, str], *, metadata: Mapping[str, Mapping[str, Any]] | None = None
    ) -> LabelsReport:
        """Add labels, and give those that are there these texts; see `LabelEditor.put` and `add_labels`."""
        return self._edit("put", **_labels(labels, metadata))

    def replace_labels(
        self, labels: Mapping[str, str], *, metadata: Mapping[str, Mapping[str, Any]] | None = None
    ) -> LabelsReport:
        """Give labels other texts; see `LabelEditor.replace` and `add_labels`."""
        return self._edit("replace", **_labels(labels, metadata))

    def remove_labels(self, label_ids: Iterable[str]) -> LabelsReport:
        """Remove labels, and what is kept beside them; see `LabelEditor.remove`."""
        return self._edit("remove", ids=_ids(label_ids, what="label_ids"))

    def _edit(self, action: str, **what: Any) -> LabelsReport:
        from xmc.engine.labels_report import LabelsReport

        body = {"action": action, **what} | ({"run": self._run} if self._run else {})
        report = self._service.send("POST", "/v1/labels", body, repeatable=False)
        known = {name: report[name] for name in LabelsReport.__dataclass_fields__ if name in report}
        return LabelsReport(**{**known, "notes": tuple(known["notes"])})

    def _search(
        self, kind: str, queries: Sequence[Any], *, most_hits: int | None = None, **options: Any
    ) -> list[list[dict[str, Any]]]:
        """The hits of each query, as they were answered; `most_hits` of one are asked for, k where it is None."""
        asked = {name: value for name, value in options.items() if value is not None}
        if self._run:
            asked["run"] = self._run
        k = most_hits or options["k"]
        if not isinstance(k, Real):
            raise DataError(f"k must be a whole number, got {k!r:.60}.")

        found = self._parts.ask(
            queries, lambda some: list(self._post("/v1/search", {kind: some, **asked})["results"]), k=k, beside=asked
        )
        if any(result.get("no_match") for result in found):
            warnings.warn(NO_MATCH, XmcWarning, stacklevel=3)
        return [result["hits"] for result in found]

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._service.send("POST", path, body)


def _hits(lists: list[list[dict[str, Any]]]) -> list[list[Hit]]:
    return [[Hit(**hit) for hit in hits] for hits in lists]


def _passage(metadata: dict[str, Any], **figures: Any) -> Passage:
    hit = Hit(**figures)
    return Passage(hit.label_id, hit.text, metadata, hit)


def _texts(texts: Sequence[str]) -> Sequence[str]:
    require_list(texts)
    return texts


def _ids(given: Iterable[str] | None, what: str = "allowed") -> list[str] | None:
    if given is None:
        return None
    require_ids(given, what=what)
    return list(given)


def _among(allowed: Iterable[str] | None, filter: Mapping[str, Any] | None) -> dict[str, Any]:
    """The labels that may be found, as they are sent."""
    if filter is not None and not isinstance(filter, Mapping):
        raise DataError(f"filter must be a dictionary of keys and values, got {filter!r:.60}.")
    return {"allowed": _ids(allowed), "filter": None if filter is None else dict(filter)}


def _labels(labels: Mapping[str, str], metadata: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any]:
    if not isinstance(labels, Mapping):  # a list of texts with two letters would be one of pairs
        raise DataError(f"labels must be a mapping of label ids to texts, got {type(labels).__name__}.")
    if metadata is None:
        return {"labels": dict(labels)}
    if not isinstance(metadata, Mapping):
        raise DataError(f"metadata must be a mapping of label ids to dictionaries, got {type(metadata).__name__}.")
    from xmc.retrieve.passage_records import to_json as as_it_is_kept

    for label_id, kept in metadata.items():
        as_it_is_kept(kept, label_id=label_id)  # on the way a tuple would become a list, the key 1 a text
    return {"labels": dict(labels), "metadata": {label_id: dict(kept) for label_id, kept in metadata.items()}}
