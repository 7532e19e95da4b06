"""What clients may ask for in the forms they already speak: OpenAI's embeddings and vector stores, Cohere's rerank."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from xmc.engine.run_names import NAME
from xmc.serve.asks import Probability, Strict, Text
from xmc.serve.label_conditions import Condition, Ids, Joined, Not

MOST_RESULTS = 50  # of OpenAI's vector stores
MOST_NESTED = 2
LABEL_KEYS = ("id", "label_id")
ModelName = Annotated[str, Field(pattern=NAME, description="The name of a run.")]


class EmbeddingsAsk(Strict):
    """`POST /v1/embeddings`: OpenAI's, with `input_type` to say on which side of the model the texts stand."""

    input: Annotated[str, Field(min_length=1)] | Annotated[list[Text], Field(min_length=1)]
    model: ModelName | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None
    input_type: Literal["query", "document"] = "query"


class ComparisonAsk(Strict):
    """A condition on the label id: the only attribute that labels have."""

    type: Literal["eq", "ne", "in", "nin"]
    key: Literal["id", "label_id"]
    value: Text | Annotated[list[Text], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_or_many(self) -> ComparisonAsk:
        if (self.type in ("in", "nin")) != isinstance(self.value, list):
            raise ValueError("in and nin take a list, eq and ne one text")
        return self

    def condition(self) -> Condition:
        """The labels that are meant."""
        ids = Ids(tuple(self.value) if isinstance(self.value, list) else (self.value,))
        return Not(ids) if self.type in ("ne", "nin") else ids

    def depth(self) -> int:
        """How deep conditions are nested in this one."""
        return 0

    def count(self) -> int:
        """How many label ids are named."""
        return len(self.value) if isinstance(self.value, list) else 1


class CompoundAsk(Strict):
    """Several conditions, all of which or one of which must be met."""

    type: Literal["and", "or"]
    filters: Annotated[list[ComparisonAsk | CompoundAsk], Field(min_length=1)]

    @model_validator(mode="after")
    def _not_too_deep(self) -> CompoundAsk:
        if self.depth() > MOST_NESTED:
            raise ValueError(f"conditions may be nested {MOST_NESTED} deep")
        return self

    def condition(self) -> Condition:
        """The labels that are meant."""
        return Joined(self.type, tuple(part.condition() for part in self.filters))

    def depth(self) -> int:
        """How deep conditions are nested in this one."""
        return 1 + max(part.depth() for part in self.filters)

    def count(self) -> int:
        """How many label ids are named."""
        return sum(part.count() for part in self.filters)


class RankingAsk(Strict):
    """`score_threshold` is a probability: it needs a calibrated run."""

    ranker: Literal["auto", "none"] = "auto"
    score_threshold: Probability | None = None


class StoreSearchAsk(Strict):
    """`POST /v1/vector_stores/{run}/search`: OpenAI's."""

    query: Annotated[str, Field(min_length=1)] | Annotated[list[Text], Field(min_length=1)]
    max_num_results: Annotated[int, Field(ge=1, le=MOST_RESULTS)] = 10
    filters: ComparisonAsk | CompoundAsk | None = None
    ranking_options: RankingAsk | None = None
    rewrite_query: Literal[False] = False


class DocumentAsk(Strict):
    """A document as an object."""

    text: Text


class RerankAsk(Strict):
    """`POST /v1/rerank`: the shape of Cohere and Jina."""

    query: Text
    documents: Annotated[list[Text | DocumentAsk], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    model: ModelName | None = None
    return_documents: bool = False


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
    """A label as a file of a vector store; `score` is the probability where the run is calibrated, else the score."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, float]
    content: list[StoreContent]


class StoreAnswer(BaseModel):
    """One page, which is all."""

    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[StoreHit]
    has_more: bool
    next_page: None


class RerankHit(BaseModel):
    """A document by its place in the request; `relevance_score` is the model's score, not a probability."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankAnswer(BaseModel):
    """The documents, best first."""

    model: str
    results: list[RerankHit]
