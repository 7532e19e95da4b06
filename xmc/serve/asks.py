"""What clients may ask for, in xmc's own form: strict types, no field that is not known, finite numbers.

The bounds here are the widest that a service can be set to; those that it is set to are checked in `admission`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xmc.engine.run_names import NAME
from xmc.retrieve.query_checks import MAX_K

Text = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
RunName = Annotated[str, Field(pattern=NAME, description="A run of this service; its first one if left out.")]


class Strict(BaseModel):
    """A body: no conversion between types, no unknown field, unchangeable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SetsAsk(Strict):
    """Label sets with a promise instead of the best k; see `xmc check conformal`."""

    alpha: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] = 0.1
    risk: Literal["false-negatives", "coverage"] = "false-negatives"


class SearchAsk(Strict):
    """`POST /v1/search`: texts or vectors, and how to search for them."""

    texts: Annotated[list[Text], Field(min_length=1)] | None = None
    vectors: Annotated[list[Annotated[list[Finite], Field(min_length=1)]], Field(min_length=1)] | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 10
    min_probability: Probability | None = None
    allowed: list[Text] | None = Field(None, description="Only these label ids.")
    filter: dict[str, Any] | None = Field(None, description="Only labels whose metadata have these values.")
    sets: SetsAsk | None = None
    certify: bool = Field(False, description="Say of each list whether it is proven to be the exact top k.")
    metadata: bool = Field(False, description="Give with each hit the metadata that are kept beside its passage.")
    run: RunName | None = None

    @model_validator(mode="after")
    def _one_kind_of_query(self) -> SearchAsk:
        if (self.texts is None) == (self.vectors is None):
            raise ValueError("give either texts or vectors")
        if self.sets and self.vectors is not None:
            raise ValueError("sets go with texts")
        if self.sets and (self.min_probability is not None or self.certify or "k" in self.model_fields_set):
            raise ValueError("sets go with none of k, min_probability and certify: a set is cut by its own promise")
        return self


class ThresholdAsk(Strict):
    """`POST /v1/threshold`: the `min_probability` for one of these, as held-out queries had it."""

    precision: Probability | None = None
    recall: Probability | None = None
    false_positive_rate: Probability | None = None
    run: RunName | None = None


class LabelsAsk(Strict):
    """`POST /v1/labels`: change the labels of a run."""

    action: Literal["add", "put", "replace", "remove"]
    labels: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(None, description="Label id to text.")
    ids: Annotated[list[Text], Field(min_length=1)] | None = Field(None, description="Label ids to remove.")
    metadata: dict[Text, dict[str, Any]] | None = Field(None, description="Label id to what is kept beside its text.")
    run: RunName | None = None

    @model_validator(mode="after")
    def _what_the_action_needs(self) -> LabelsAsk:
        if (self.action == "remove") != (self.ids is not None) or (self.action == "remove") == (
            self.labels is not None
        ):
            raise ValueError("add, put and replace take labels, remove takes ids")
        if self.metadata is not None and (self.labels is None or not self.metadata.keys() <= self.labels.keys()):
            raise ValueError("metadata must be of labels that are given here")
        return self


class ReloadAsk(Strict):
    """`POST /v1/reload`: look now whether something was committed to a run."""

    run: RunName | None = None


class HitAnswer(BaseModel):
    """One hit, as `xmc.Hit`; `metadata` only where they were asked for, and empty where nothing is kept."""

    rank: int
    label_id: str
    text: str
    score: float
    probability: float | None
    metadata: dict[str, Any] | None = None


class ListAnswer(BaseModel):
    """The answer to one query.

    `abstained`: nothing was probable enough. `truncated`: there are fewer labels than k. `no_match`: the best score is
    exactly 0, so the hits are just the first labels by id. `certified`: whether the list is proven to be the exact
    top k (null: it was not asked for, or it cannot be said).
    """

    hits: list[HitAnswer]
    abstained: bool
    truncated: bool
    no_match: bool
    certified: bool | None


class TimingAnswer(BaseModel):
    """Milliseconds that a request waited for its batch and that the batch took; queries in that batch."""

    waited_ms: float
    searched_ms: float
    batch_queries: int


class SearchAnswer(BaseModel):
    """Answers in the order of the queries, all of the state of the run that `generation` names."""

    run: str
    generation: str
    results: list[ListAnswer]
    timing: TimingAnswer


class ThresholdAnswer(BaseModel):
    """A `min_probability` that reaches what was asked for."""

    run: str
    generation: str
    threshold: float


class CalibrationAnswer(BaseModel):
    """What the probabilities were fitted to: so many `labels`, of which so many were `edited` since (null: not known).

    `carried` says that the index was built anew since, and the probabilities carried over.
    """

    labels: int | None
    edited: int | None
    carried: bool


class RunAnswer(BaseModel):
    """A run of this service: its sizes and what it can do; `notes` say what is to be known of its probabilities.

    `largest_set` is how many labels a label set may have; null where there are no label sets.
    """

    name: str
    generation: str
    labels: int
    dimension: int
    backend: str
    exact: bool
    similarity: str
    calibrated: bool
    label_sets: bool
    largest_set: int | None
    calibration: CalibrationAnswer | None
    notes: list[str]
    reranked: bool
    reload_error: str


class RunsAnswer(BaseModel):
    """All runs of this service, the first of which answers where none is named."""

    runs: list[RunAnswer]
    limits: dict[str, float]


class LabelsAnswer(BaseModel):
    """The label set of a run, the generation from which on it is searched, and `notes` on the edit."""

    run: str
    generation: str
    labels: int
    base: int
    added: int
    removed: int
    changed: int
    changed_metadata: int
    hint: str
    notes: list[str]


class ErrorDetail(BaseModel):
    """Why: `code` for programs, `message` for people."""

    code: str
    message: str
    type: str


class ErrorAnswer(BaseModel):
    """Any answer that is not 2xx."""

    error: ErrorDetail
