"""The routes that OpenAI's clients already speak: embeddings, vector-store search, and what there is to ask."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from xmc.counted import counted
from xmc.serve.admission import admit_count, admit_counts, admit_texts
from xmc.serve.batch_search import Ask, Wish
from xmc.serve.bodies import read_model
from xmc.serve.compat_answers import EmbeddingsAnswer, ModelAnswer, ModelsAnswer, StoreAnswer, StoreListed, StoresAnswer
from xmc.serve.compat_asks import EmbeddingsAsk, StoreSearchAsk
from xmc.serve.documents import described
from xmc.serve.json_answers import json_list_response, json_response
from xmc.serve.prepared import require_calibrated
from xmc.serve.refusals import invalid
from xmc.values import Hit

if TYPE_CHECKING:
    import numpy as np

    from xmc.retrieve.passage_records import Records
    from xmc.retrieve.retriever import Retriever
    from xmc.serve.limits import Limits
    from xmc.serve.served_run import ServedRun
    from xmc.serve.service import Service

ATTRIBUTE_CHARACTERS = 512  # of a text in OpenAI's form


def compat_routes(service: Service) -> APIRouter:
    """`/v1/embeddings`, `/v1/models`, `/v1/vector_stores` and the search in one of these, over a service's runs."""
    router = APIRouter()
    limits = service.limits

    @router.post("/v1/embeddings", **described(EmbeddingsAsk, EmbeddingsAnswer, "Embeddings of texts"))
    async def embeddings(request: Request) -> Response:
        asked = await read_model(request, EmbeddingsAsk, limits)
        run = service.run(asked.model)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        admit_count("texts", len(texts), limits, "queries")
        admit_texts(texts, limits)
        retriever = run.retriever
        _require_dimension(asked.dimensions, retriever)
        role = "query" if asked.input_type == "query" else "label"
        vectors_QD = await service.searching(lambda: _embed(retriever, texts, role))
        data = (
            {"object": "embedding", "index": row, "embedding": _encoded(vector_D, asked.encoding_format)}
            for row, vector_D in enumerate(vectors_QD)
        )
        about = {"object": "list", "model": run.name, "usage": {"prompt_tokens": 0, "total_tokens": 0}}
        return await json_list_response(
            about, "data", data, most_bytes=limits.answer_bytes, generation=retriever.generation
        )

    @router.post("/v1/vector_stores/{run}/search", **described(StoreSearchAsk, StoreAnswer, "Search, OpenAI's form"))
    async def store_search(run: str, request: Request) -> Response:
        asked = await read_model(request, StoreSearchAsk, limits)
        served = service.run(run)
        ask = _admitted(asked, served, limits)
        await service.read_kept(served)
        answer = (await served.batcher.ask(ask)).answer
        best = _merged(answer.lists)[: asked.max_num_results]
        about = {
            "object": "vector_store.search_results.page",
            "search_query": ask.queries,
            "has_more": False,
            "next_page": None,
        }
        data = (_store_hit(hit, answer.records) for hit in best)
        return await json_list_response(
            about, "data", data, most_bytes=limits.answer_bytes, generation=answer.generation
        )

    @router.get("/v1/models", **described(None, ModelsAnswer, "The runs, OpenAI's form"))
    async def models() -> Response:
        return json_response({"object": "list", "data": [_model(run) for run in service.runs.values()]})

    @router.get("/v1/models/{run}", **described(None, ModelAnswer, "A run, OpenAI's form"))
    async def model(run: str) -> Response:
        return json_response(_model(service.run(run)))

    @router.get("/v1/vector_stores", **described(None, StoresAnswer, "The runs as vector stores, OpenAI's form"))
    async def stores() -> Response:
        data = [_store(run) for run in service.runs.values()]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
        return json_response({"object": "list", "data": data, **ends, "has_more": False})

    @router.get("/v1/vector_stores/{run}", **described(None, StoreListed, "A run as a vector store, OpenAI's form"))
    async def store(run: str) -> Response:
        return json_response(_store(service.run(run)))

    return router


def _require_dimension(asked: int | None, retriever: Retriever) -> None:
    dimension = retriever.encoder.dimension
    if asked not in (None, dimension):
        raise invalid(
            f"dimensions: embeddings of this run have {counted(dimension, 'number')} and cannot be shortened."
        )


def _admitted(asked: StoreSearchAsk, run: ServedRun, limits: Limits) -> Ask:
    """What a search in a vector store asks of the run. Raises: RefusedError for more than the limits allow."""
    queries = [asked.query] if isinstance(asked.query, str) else asked.query
    admit_counts(len(queries), asked.max_num_results, limits)
    admit_texts(queries, limits, what="query")
    condition = None
    if asked.filters is not None:
        admit_count("values of the filters", asked.filters.count(), limits, "allowed_labels")
        condition = asked.filters.condition()
    return Ask(queries, Wish(asked.max_num_results, _threshold(asked, run), condition))


def _threshold(asked: StoreSearchAsk, run: ServedRun) -> float | None:
    threshold = asked.ranking_options.score_threshold if asked.ranking_options else None
    if threshold is not None:
        require_calibrated(run.retriever, "score_threshold")
    return threshold


def _embed(retriever: Retriever, texts: Sequence[str], role: Any) -> np.ndarray[Any, Any]:
    import torch

    from xmc.encode.encoder import embed_texts

    vectors_QD = embed_texts(retriever.encoder, texts, role)
    if vectors_QD.layout != torch.strided:
        raise invalid("the embeddings of this run are sparse; this form of answer is for dense ones.")
    found: np.ndarray[Any, Any] = vectors_QD.float().numpy()
    return found


def _encoded(vector_D: np.ndarray[Any, Any], encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector_D.tolist()
    return numbers


def _merged(lists: Sequence[Sequence[Hit]]) -> list[Hit]:
    """The hits of several queries as one list: each label once, with its best score."""
    if len(lists) == 1:
        return list(lists[0])
    best: dict[str, Hit] = {}
    for hit in sorted((hit for hits in lists for hit in hits), key=lambda hit: (-hit.shown_score, hit.label_id)):
        best.setdefault(hit.label_id, hit)
    return list(best.values())


def _store_hit(hit: Hit, records: Records) -> dict[str, Any]:
    attributes = {key: value for key, value in records.metadata(hit.label_id).items() if _is_attribute(value)}
    attributes |= {"rank": hit.rank, "score": hit.score}
    if hit.probability is not None:
        attributes["probability"] = hit.probability
    return {
        "file_id": hit.label_id,
        "filename": hit.label_id,
        "score": hit.shown_score,
        "attributes": attributes,
        "content": [{"type": "text", "text": hit.text}],
    }


def _is_attribute(value: Any) -> bool:
    """Whether OpenAI's form has room for such a value."""
    return isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= ATTRIBUTE_CHARACTERS)


def _model(run: ServedRun) -> dict[str, Any]:
    """A run as a model."""
    return {"id": run.name, "object": "model", "created": run.opened_s, "owned_by": "xmc"}


def _store(run: ServedRun) -> dict[str, Any]:
    """A run as a vector store: what stands in its label set are its files."""
    labels = run.count_labels()
    return {
        "id": run.name,
        "object": "vector_store",
        "created_at": run.opened_s,
        "name": run.name,
        "usage_bytes": run.retriever.index.report.memory_bytes,
        "file_counts": {"in_progress": 0, "completed": labels, "failed": 0, "cancelled": 0, "total": labels},
        "status": "completed",
    }
