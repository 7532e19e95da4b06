"""What clients may ask for in the forms they already speak: OpenAI's embeddings and vector stores, Cohere's rerank."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from xmc.engine.run_names import NAME
from xmc.retrieve.written_filters import compared
from xmc.serve.asks import Probability, Strict, Text
from xmc.serve.label_conditions import MOST_CONDITIONS, Condition, Ids, Metadata, Not, joined

MOST_RESULTS = 50  # of OpenAI's vector stores
MOST_NESTED = 2
IDS = ("id", "label_id")
MANY = ("in", "nin")
OF_IDS = ("eq", "ne", *MANY)
ModelName = Annotated[str, Field(pattern=NAME, description="The name of a run.")]


TEXT, OTHER = Tag("<text>"), Tag("<other>")  # refusals leave such names out of a place


def _text_or(*others: type) -> Discriminator:
    """Which of two types is meant, so that a problem is told for that one only."""
    return Discriminator(lambda value: OTHER.tag if isinstance(value, others) else TEXT.tag)


Many = Annotated[list[Text], Field(min_length=1)]
OneOrMany = Annotated[Annotated[Text, TEXT] | Annotated[Many, OTHER], _text_or(list)]


def _no_tokens(value: Any) -> Any:
    """Refuse lists of token numbers in words: some clients send them unless told not to."""
    rows = [row if isinstance(row, list) else [row] for row in value] if isinstance(value, list) else []
    if rows and all(type(token) is int for row in rows for token in row):
        raise ValueError(
            "numbers of tokens are not taken, since a run has an encoder of its own: send texts. LangChain's "
            "OpenAIEmbeddings does so with check_embedding_ctx_length=False"
        )
    return value


class EmbeddingsAsk(Strict):
    """`POST /v1/embeddings`: OpenAI's, with `input_type` to say on which side of the model the texts stand."""

    input: Annotated[OneOrMany, BeforeValidator(_no_tokens)]
    model: ModelName | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None
    input_type: Literal["query", "document"] = "query"


class ComparisonAsk(Strict):
    """A condition on the label id, which is the attribute `id` or `label_id`, or on what is kept beside a passage."""

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: Text
    value: Any = Field(description="A text, a number, true or false; for in and nin a list of such.")

    @model_validator(mode="after")
    def _what_can_be_compared(self) -> ComparisonAsk:
        if (self.type in MANY) != isinstance(self.value, list):
            raise ValueError("in and nin take a list, the others one value")
        kinds = {type(value) for value in (self.value if isinstance(self.value, list) else [self.value])}
        if self.key in IDS and (self.type not in OF_IDS or kinds - {str}):
            raise ValueError("a label id is compared with texts, by eq, ne, in or nin")
        if kinds - ({str, int, float, bool} if self.type in OF_IDS else {str, int, float}):
            raise ValueError("values are texts, numbers, and but for an order true and false")
        return self

    def condition(self) -> Condition:
        """The labels that are meant."""
        if self.key not in IDS:
            return Metadata.of(compared(self.key, f"${self.type}", self.value))
        ids = Ids(tuple(self.value) if isinstance(self.value, list) else (self.value,))
        return Not(ids) if self.type in ("ne", "nin") else ids

    def depth(self) -> int:
        """How deep conditions are nested in this one."""
        return 0

    def conditions(self) -> int:
        """How many comparisons there are."""
        return 1

    def count(self) -> int:
        """How many values are named."""
        return len(self.value) if isinstance(self.value, list) else 1


class CompoundAsk(Strict):
    """Several conditions, all of which or one of which must be met."""

    type: Literal["and", "or"]
    filters: Annotated[list[FilterAsk], Field(min_length=1)]

    @model_validator(mode="after")
    def _not_too_deep(self) -> CompoundAsk:
        if self.depth() > MOST_NESTED:
            raise ValueError(f"conditions may be nested {MOST_NESTED} deep")
        if self.conditions() > MOST_CONDITIONS:
            raise ValueError(f"there may be {MOST_CONDITIONS} conditions; in and nin take many values in one")
        return self

    def condition(self) -> Condition:
        """The labels that are meant."""
        return joined(self.type, [part.condition() for part in self.filters])

    def depth(self) -> int:
        """How deep conditions are nested in this one."""
        return 1 + max(part.depth() for part in self.filters)

    def conditions(self) -> int:
        """How many comparisons there are in it."""
        return sum(part.conditions() for part in self.filters)

    def count(self) -> int:
        """How many values are named."""
        return sum(part.count() for part in self.filters)


FilterAsk = Annotated[ComparisonAsk | CompoundAsk, Field(discriminator="type")]


class RankingAsk(Strict):
    """`score_threshold` is a probability: it needs a calibrated run."""

    ranker: Literal["auto", "none"] = "auto"
    score_threshold: Probability | None = None


class StoreSearchAsk(Strict):
    """`POST /v1/vector_stores/{run}/search`: OpenAI's."""

    query: OneOrMany
    max_num_results: Annotated[int, Field(ge=1, le=MOST_RESULTS)] = 10
    filters: FilterAsk | None = None
    ranking_options: RankingAsk | None = None
    rewrite_query: Literal[False] = False


class DocumentAsk(Strict):
    """A document as an object."""

    text: Text


TextOrDocument = Annotated[Annotated[Text, TEXT] | Annotated[DocumentAsk, OTHER], _text_or(dict, DocumentAsk)]


class RerankAsk(Strict):
    """`POST /v1/rerank`: the shape of Cohere's first version and of Jina."""

    query: Text
    documents: Annotated[list[TextOrDocument], Field(min_length=1)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    model: ModelName | None = None
    return_documents: bool = False


class SecondRerankAsk(Strict):
    """`POST /v2/rerank`: Cohere's second version. A run has no use for `max_tokens_per_doc` and `priority`."""

    query: Text
    documents: Many
    top_n: Annotated[int, Field(ge=1)] | None = None
    model: ModelName | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = Field(None, description="Has no effect here.")
    priority: int | None = Field(None, description="Has no effect here.")
