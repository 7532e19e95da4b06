"""The OpenAPI document: the routes read bodies themselves, so what they read is told here."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from xmc.serve.asks import ErrorAnswer

REFERENCE = "#/components/schemas/{model}"
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No token, or a wrong one."},
    404: {"model": ErrorAnswer, "description": "No such run."},
    408: {"model": ErrorAnswer, "description": "The body did not arrive in time."},
    409: {"model": ErrorAnswer, "description": "The run is not prepared for this."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    415: {"model": ErrorAnswer, "description": "The body is not application/json, or is compressed."},
    421: {"model": ErrorAnswer, "description": "The service does not answer under this host name."},
    422: {"model": ErrorAnswer, "description": "The request asks for what cannot be."},
    503: {"model": ErrorAnswer, "description": "Too much to do: try again after the seconds of Retry-After."},
}
ADMIN = {
    403: {"model": ErrorAnswer, "description": "Changes are off, or the token does not allow them."},
    504: {"model": ErrorAnswer, "description": "It took too long, and may have been done, or be done yet."},
}


def described(asked: type[BaseModel] | None, answered: type[BaseModel], summary: str, **more: Any) -> dict[str, Any]:
    """The arguments of a route that reads `asked` itself and answers `answered`."""
    responses = {200: {"model": answered}} | REFUSALS | more.pop("responses", {})
    facts: dict[str, Any] = {"summary": summary, "responses": responses, **more}
    if asked is not None:
        schema = {"$ref": REFERENCE.format(model=asked.__name__)}
        body = {"required": True, "content": {"application/json": {"schema": schema}}}
        facts["openapi_extra"] = {"requestBody": body}
    return facts


def openapi_of(app: FastAPI, bodies: list[type[BaseModel]]) -> dict[str, Any]:
    """The OpenAPI document of an app whose routes read these bodies."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        pairs = [(body, "validation") for body in bodies]
        _, schemas = models_json_schema(pairs, ref_template=REFERENCE)  # type: ignore[arg-type]
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(schemas["$defs"])
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{}, {"token": []}]
        app.openapi_schema = document
    return app.openapi_schema
