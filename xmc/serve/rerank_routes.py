"""Rerank in the forms of Cohere's two versions: texts that come with the request, ordered by their score."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import Response

from xmc.serve.admission import admit_count, admit_texts
from xmc.serve.bodies import read_model
from xmc.serve.compat_answers import RerankAnswer, SecondRerankAnswer
from xmc.serve.compat_asks import DocumentAsk, RerankAsk, SecondRerankAsk
from xmc.serve.documents import described
from xmc.serve.json_answers import json_response

if TYPE_CHECKING:
    from xmc.retrieve.retriever import Retriever
    from xmc.serve.service import Service

UNUSED = ("max_tokens_per_doc", "priority")


def rerank_routes(service: Service) -> APIRouter:
    """`/v1/rerank` and `/v2/rerank` over a service's runs."""
    router = APIRouter()

    @router.post("/v1/rerank", **described(RerankAsk, RerankAnswer, "Order documents by their score for a query"))
    async def rerank(request: Request) -> Response:
        asked = await read_model(request, RerankAsk, service.limits)
        run = service.run(asked.model)
        texts = [document.text if isinstance(document, DocumentAsk) else document for document in asked.documents]
        retriever = run.retriever
        ranked = await _ranked(service, retriever, asked.query, texts)
        results = [
            {"index": row, "relevance_score": score}
            | ({"document": {"text": texts[row]}} if asked.return_documents else {})
            for row, score in ranked[: asked.top_n]
        ]
        return json_response({"model": run.name, "results": results}, generation=retriever.generation)

    second = described(SecondRerankAsk, SecondRerankAnswer, "The same in the form of Cohere's second version")

    @router.post("/v2/rerank", **second)
    async def second_rerank(request: Request) -> Response:
        asked = await read_model(request, SecondRerankAsk, service.limits)
        retriever = service.run(asked.model).retriever
        ranked = await _ranked(service, retriever, asked.query, asked.documents)
        results = [{"index": row, "relevance_score": score} for row, score in ranked[: asked.top_n]]
        unused = [name for name in UNUSED if getattr(asked, name) is not None]
        meta = {"api_version": {"version": "2"}} | ({"warnings": [_warning(name) for name in unused]} if unused else {})
        answer = {"id": str(uuid.uuid4()), "results": results, "meta": meta}
        return json_response(answer, generation=retriever.generation)

    return router


async def _ranked(
    service: Service, retriever: Retriever, query: str, texts: Sequence[str]
) -> Sequence[tuple[int, float]]:
    admit_count("documents", len(texts), service.limits, "queries")
    admit_texts([query], service.limits, what="query")
    admit_texts(texts, service.limits, what="document")
    ranked: list[tuple[int, float]] = await service.searching(lambda: retriever.rank_texts(query, texts))
    return ranked


def _warning(name: str) -> str:
    reasons = {
        "max_tokens_per_doc": "a document is read as far as the encoder of the run reads any text",
        "priority": "all requests are searched in the order in which they come",
    }
    return f"{name} has no effect: {reasons[name]}."
