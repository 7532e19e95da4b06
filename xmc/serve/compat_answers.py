"""What is answered in the forms that other clients already speak: OpenAI's and Cohere's."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class EmbeddingAnswer(BaseModel):
    """One embedding: numbers, or little-endian float32 in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class UsageAnswer(BaseModel):
    """Tokens are not counted: 0."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Embeddings in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingAnswer]
    model: str
    usage: UsageAnswer


class StoreContent(BaseModel):
    """The text of a label."""

    type: Literal["text"]
    text: str


class StoreHit(BaseModel):
    """A label as a file of a vector store; `score` is the probability where the run is calibrated, else the score.

    `attributes` are the model's figures, and of what is kept beside the passage the short texts, numbers and booleans.
    """

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | bool | float]
    content: list[StoreContent]


class StoreAnswer(BaseModel):
    """One page, which is all."""

    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[StoreHit]
    has_more: bool
    next_page: None


class ModelAnswer(BaseModel):
    """A run as a model; `created` is when this service opened it, in seconds."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: Literal["xmc"]


class ModelsAnswer(BaseModel):
    """All runs of this service, the first of which answers where none is named."""

    object: Literal["list"]
    data: list[ModelAnswer]


class FileCounts(BaseModel):
    """Labels: all of them can be found."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class StoreListed(BaseModel):
    """A run as a vector store whose files are its labels; `usage_bytes` is what its index holds in memory."""

    id: str
    object: Literal["vector_store"]
    created_at: int
    name: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["completed"]


class StoresAnswer(BaseModel):
    """One page, which is all."""

    object: Literal["list"]
    data: list[StoreListed]
    first_id: str
    last_id: str
    has_more: bool


class RerankHit(BaseModel):
    """A document by its place in the request; `relevance_score` is the model's score, not a probability."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankAnswer(BaseModel):
    """The documents, best first."""

    model: str
    results: list[RerankHit]


class SecondRerankHit(BaseModel):
    """A document by its place in the request; `relevance_score` is the model's score, not a probability."""

    index: int
    relevance_score: float


class VersionAnswer(BaseModel):
    """Of the form that is answered in."""

    version: Literal["2"]


class SecondRerankMeta(BaseModel):
    """`warnings` names what was asked for and has no effect here; it is absent where there is none."""

    api_version: VersionAnswer
    warnings: list[str] | None = None


class SecondRerankAnswer(BaseModel):
    """The documents, best first."""

    id: str
    results: list[SecondRerankHit]
    meta: SecondRerankMeta
