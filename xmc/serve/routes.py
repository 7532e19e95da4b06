"""xmc's own routes: search, threshold, labels, reload, runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from xmc.serve.admission import admit_labels, admit_search
from xmc.serve.asks import (
    LabelsAnswer,
    LabelsAsk,
    ReloadAsk,
    RunAnswer,
    RunsAnswer,
    SearchAnswer,
    SearchAsk,
    ThresholdAnswer,
    ThresholdAsk,
)
from xmc.serve.bodies import read_model
from xmc.serve.documents import ADMIN, described
from xmc.serve.json_answers import json_list_response, json_response
from xmc.serve.prepared import require_calibrated, require_label_sets
from xmc.serve.refusals import answer_too_large

if TYPE_CHECKING:
    from xmc.serve.batch_search import Answer
    from xmc.serve.batcher import Timed
    from xmc.serve.service import Service


def own_routes(service: Service) -> APIRouter:
    """`/v1/search`, `/v1/threshold`, `/v1/runs`, `/v1/labels` and `/v1/reload` over a service's runs."""
    router = APIRouter()
    limits = service.limits

    @router.post("/v1/search", **described(SearchAsk, SearchAnswer, "The best labels of each text or vector"))
    async def search(request: Request) -> Response:
        asked = await read_model(request, SearchAsk, limits)
        run = service.run(asked.run)
        if asked.min_probability is not None:
            require_calibrated(run.retriever, "min_probability")
        if asked.sets:
            require_label_sets(run.retriever)
        ask = admit_search(asked, run.retriever, limits)
        if asked.metadata or asked.filter is not None:
            await service.read_kept(run)
        timed = await run.batcher.ask(ask)
        answer = timed.answer
        about = {"run": run.name, "generation": answer.generation, "timing": _timing(timed)}
        return await json_list_response(
            about,
            "results",
            _results(answer, asked, limits.answer_bytes),
            most_bytes=limits.answer_bytes,
            generation=answer.generation,
        )

    @router.post("/v1/threshold", **described(ThresholdAsk, ThresholdAnswer, "The least probability for an aim"))
    async def threshold(request: Request) -> Response:
        asked = await read_model(request, ThresholdAsk, limits)
        run = service.run(asked.run)
        retriever = run.retriever
        require_calibrated(retriever, "the threshold")
        found = retriever.threshold(**asked.model_dump(exclude={"run"}))
        answer = {"run": run.name, "generation": retriever.generation, "threshold": found}
        return json_response(answer, generation=retriever.generation)

    @router.get("/v1/runs", **described(None, RunsAnswer, "The runs of this service and its limits"))
    async def runs() -> Response:
        described_runs = [run.describe() for run in service.runs.values()]
        return json_response({"runs": described_runs, "limits": vars(limits)})

    labels_described = described(LabelsAsk, LabelsAnswer, "Change the labels of a run", responses=ADMIN)

    @router.post("/v1/labels", **labels_described)
    async def labels(request: Request) -> Response:
        asked = await read_model(request, LabelsAsk, limits)
        run = service.run(asked.run)
        report = await service.to_its_end(service.edit(run, admit_labels(asked, limits)))
        generation = run.retriever.generation
        answer = {"run": run.name, "generation": generation, **report.to_dict(), "hint": ""}
        if report.hint:  # the report's own names the folder
            answer["hint"] = "many labels stand beside the index: its operator can run `xmc labels compact`."
        return json_response(answer, generation=generation)

    reload_described = described(ReloadAsk, RunAnswer, "Open the newest committed state of a run", responses=ADMIN)

    @router.post("/v1/reload", **reload_described)
    async def reload(request: Request) -> Response:
        asked = await read_model(request, ReloadAsk, limits)
        run = service.run(asked.run)
        await service.to_its_end(service.reload(run))
        return json_response(run.describe(), generation=run.retriever.generation)

    return router


def _results(answer: Answer, asked: SearchAsk, most_bytes: int) -> Iterator[dict[str, Any]]:
    """The result of each query. Raises: RefusedError 422 before one that makes the answer too large."""
    records = answer.records if asked.metadata else None
    truncated = asked.sets is None and asked.k > answer.searched_labels
    characters = 0  # each is written with a byte or more: a list of long texts need not be written to be refused
    for hits, no_match, certified in zip(answer.lists, answer.no_match, answer.certified, strict=True):
        characters += sum(len(hit.text) + (len(records.json(hit.label_id)) if records else 0) for hit in hits)
        if characters > most_bytes:
            raise answer_too_large(most_bytes)
        yield {
            "hits": [hit._asdict() | ({"metadata": records.metadata(hit.label_id)} if records else {}) for hit in hits],
            "abstained": not hits and answer.searched_labels > 0,
            "truncated": truncated,
            "no_match": no_match,
            "certified": certified,
        }


def _timing(timed: Timed) -> dict[str, Any]:
    return {
        "waited_ms": round(timed.waited_s * 1e3, 3),
        "searched_ms": round(timed.searched_s * 1e3, 3),
        "batch_queries": timed.batch_queries,
    }
