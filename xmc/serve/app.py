"""The service as an ASGI app: `create_app` for those who run it in a server of their own, `xmc serve` for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from xmc.serve.access import Access
from xmc.serve.asks import LabelsAsk, ReloadAsk, SearchAsk, ThresholdAsk
from xmc.serve.compat_asks import EmbeddingsAsk, RerankAsk, SecondRerankAsk, StoreSearchAsk
from xmc.serve.compat_routes import compat_routes
from xmc.serve.documents import openapi_of
from xmc.serve.guard import Guard
from xmc.serve.json_answers import json_response, refusal_response
from xmc.serve.limits import Limits
from xmc.serve.metrics import Metrics
from xmc.serve.refusals import RefusedError, refusal_of
from xmc.serve.rerank_routes import rerank_routes
from xmc.serve.routes import own_routes
from xmc.serve.served_run import open_runs
from xmc.serve.service import Service

BODIES: list[type[BaseModel]] = [SearchAsk, ThresholdAsk, LabelsAsk, ReloadAsk]
BODIES += [EmbeddingsAsk, StoreSearchAsk, RerankAsk, SecondRerankAsk]
PLAYGROUND = Path(__file__).parent / "playground"
PAGES = {"/": "index.html", "/playground.js": "playground.js", "/playground.css": "playground.css"}
CONTENT_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
CONTENT_POLICY += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
CODES = {404: "not_found", 405: "method_not_allowed"}
REASONS = {404: "there is no such path here.", 405: "this path takes other methods, which the header Allow names."}
READ: Any = {"methods": ["GET", "HEAD"], "include_in_schema": False}  # health checks ask with HEAD, too


def create_app(
    runs: Mapping[str, str | Path],
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    device: str = "auto",
    window_ms: float = 2.0,
    batch_queries: int = 256,
    reload_s: float = 1.0,
    docs: bool = False,
    playground: bool = True,
) -> FastAPI:
    """The service over these runs, by name; the first one answers where a request names none.

    Where several clients ask at once a search waits `window_ms` for company, `batch_queries` bounds a batch, every
    `reload_s` (0: never) the runs are looked at for newly committed states. `docs` adds `/docs` and `/openapi.json`.
    Raises: as `Retriever.load`.

    >>> app = create_app({"icd": "runs/icd"})  # doctest: +SKIP
    """
    limits, access, metrics = limits or Limits(), access or Access(), Metrics()
    service = Service(
        open_runs({name: Path(folder) for name, folder in runs.items()}, device=device),
        limits=limits,
        window_s=window_ms / 1e3,
        batch_queries=batch_queries,
        observe=metrics.searched,
    )
    metrics.watch(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(service.watch(reload_s)) if reload_s else None
        yield
        if watching:
            watching.cancel()
        service.close()

    app = FastAPI(
        title="xmc",
        version=metadata.version("xmc-engine"),
        description="Top-k label retrieval with probabilities.",
        lifespan=lifespan,
        docs_url="/docs" if docs else None,
        redoc_url=None,
        redirect_slashes=False,  # behind TLS it would send clients to http://
        openapi_url="/openapi.json" if docs else None,
    )
    app.state.service = service
    app.openapi = lambda: openapi_of(app, BODIES)  # type: ignore[method-assign]
    app.include_router(own_routes(service))
    app.include_router(compat_routes(service))
    app.include_router(rerank_routes(service))
    _add_state_routes(app, service, metrics)
    if playground:
        _add_playground(app)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Guard, access=access, request_s=limits.request_s, count=metrics.request)
    return app


def _add_state_routes(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.api_route("/healthz", **READ)
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @app.api_route("/readyz", **READ)
    async def readyz() -> Response:
        runs = {
            run.name: {
                "generation": run.retriever.generation,
                "reload_error": run.reload_error,
                "notes": run.retriever.fitted.remarks(),
            }
            for run in service.runs.values()
        }
        return json_response({"status": "ready", "runs": runs})

    @app.api_route("/metrics", **READ)
    async def prometheus() -> Response:
        return metrics.response()


def _add_playground(app: FastAPI) -> None:
    def page_of(name: str) -> Callable[[], Awaitable[Response]]:
        async def page() -> Response:
            return FileResponse(PLAYGROUND / name, headers={"content-security-policy": CONTENT_POLICY})

        return page

    for path, name in PAGES.items():
        app.api_route(path, **READ)(page_of(name))


async def _http_error(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    if not isinstance(error, HTTPException):
        return refusal_response(refusal_of(error))
    status = error.status_code
    code, reason = CODES.get(status, "refused"), REASONS.get(status, str(error.detail))
    return refusal_response(RefusedError(status, code, reason, headers=error.headers))
