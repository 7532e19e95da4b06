"""Invariants: the component works in a pipeline, written to YAML and read again, synchronous and not."""

import asyncio
import copy
import pickle
import random

import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder
from haystack.core.errors import DeserializationError, PipelineRuntimeError
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from xmc import Retriever
from xmc.errors import ArtifactError, ConfigError
from xmc.integrations.haystack import XmcRetriever, _keeper
from xmc.integrations.run_passages import RunPassages
from xmc.retrieve.metadata_filters import LookedUp
from xmc.retrieve.passages_now import PassagesNow
from xmc.retrieve.written_filters import write_filter

TEMPLATE = """{% for d in documents %}[{{ d.id }}] {{ d.content }} ({{ "%.2f" | format(d.meta.probability) }})
{% else %}nothing relevant
{% endfor %}{{ question }}"""


def pipeline_of(retriever):
    pipeline = Pipeline()
    pipeline.add_component("retriever", retriever)
    pipeline.add_component("prompt", PromptBuilder(TEMPLATE, required_variables=["documents", "question"]))
    pipeline.connect("retriever.documents", "prompt.documents")
    return pipeline


def ask(pipeline, question):
    inputs = {"retriever": {"query": question}, "prompt": {"question": question}}
    answers = [pipeline.run(inputs), asyncio.run(pipeline.run_async(inputs))]
    assert answers[0] == answers[1]
    return answers[0]["prompt"]["prompt"]


def test_a_pipeline_written_to_yaml_and_read_again_gets_context_and_an_abstention(calibrated_run):
    written = pipeline_of(XmcRetriever(calibrated_run, top_k=3, min_probability=0.5)).dumps()
    assert "xmc.integrations.haystack.XmcRetriever" in written and str(calibrated_run) in written
    with pytest.raises(DeserializationError, match=r"not on the trusted-module allowlist"):
        Pipeline.loads(written)
    pipeline = Pipeline.loads(written, allowed_modules=["xmc.integrations.haystack"])
    best = Retriever.load(calibrated_run).search(["tender tram"], k=1)[0][0]
    assert ask(pipeline, "tender tram") == f"[L21] tender tram vehicle ({best.probability:.2f})\ntender tram"
    assert ask(pipeline, "quarterly revenue forecast") == "nothing relevant\nquarterly revenue forecast"


def test_documents_are_the_hits_of_the_run(calibrated_run):
    (hits,) = Retriever.load(calibrated_run).search(["tender tram"], k=3)
    found = XmcRetriever(str(calibrated_run)).run("tender tram", top_k=3)["documents"]
    assert [(d.id, d.content, d.score) for d in found] == [(hit.label_id, hit.text, hit.probability) for hit in hits]
    assert found[1].meta == {"score": hits[1].score, "rank": 2, "probability": hits[1].probability}


def test_without_a_calibration_a_documents_score_is_that_of_the_label(tiny_run):
    (hit,) = Retriever.load(tiny_run).search(["tender tram"], k=1)[0]
    (document,) = XmcRetriever(tiny_run, top_k=1).run("tender tram")["documents"]
    assert (document.score, document.meta["probability"]) == (hit.score, None)


def test_what_a_call_asks_for_goes_before_what_the_component_was_made_with(calibrated_run):
    component = XmcRetriever(calibrated_run, top_k=2, min_probability=0.9, allowed=["L21", "L09"])

    def ids(**options):
        return [document.id for document in component.run("tender tram", **options)["documents"]]

    assert ids() == ["L21"]
    assert ids(min_probability=0.0) == ["L21", "L09"]
    assert ids(min_probability=0.0, top_k=1) == ["L21"]
    assert ids(min_probability=0.0, allowed=["L09"]) == ["L09"]


def test_filters_are_those_of_haystack(tiny_run_copy):
    texts = {"a": "solar kettle appliance", "b": "copper violin instrument"}
    RunPassages(tiny_run_copy).add(texts, {"a": {"year": 2020}, "b": {"year": 2024}})
    late = {"field": "meta.year", "operator": ">", "value": 2021}
    component = XmcRetriever(tiny_run_copy, filters=late)
    (document,) = component.run("solar kettle")["documents"]
    assert (document.id, document.meta["year"]) == ("b", 2024)
    has_year = {"field": "meta.year", "operator": "!=", "value": None}
    early = {"operator": "AND", "conditions": [has_year, {"operator": "NOT", "conditions": [late]}]}
    assert [d.id for d in component.run("solar kettle", filters=early)["documents"]] == ["a"]


def equals(key, value):
    return {"field": f"meta.{key}", "operator": "==", "value": value}


def both(*conditions):
    return {"operator": "AND", "conditions": list(conditions)}


def compares(key, operator, value):
    return {"field": key, "operator": operator, "value": value}


KEPT = {"a": {"kind": "tool", "year": 2020, "at": {"city": "Ulm"}}, "b": {"kind": "tool", "year": 2024}}
KEPT["b"]["when"] = "2024-05-01"
FILTERS = {
    "one value": (equals("year", 2020), ["a"]),
    "a number is a number": (equals("year", 2020.0), ["a"]),
    "two values": (both(equals("kind", "tool"), equals("year", 2024)), ["b"]),
    "no such value": (both(equals("kind", "tool"), equals("year", 1)), []),
    "a key twice": (both(equals("year", 2020), equals("year", 2024)), []),
    "a moment in other words": (equals("when", "2024-05-01T00:00:00"), ["b"]),
    "a moment in words that only Haystack reads": (equals("when", "2024-04-30T24:00"), ["b"]),
    "a value within a value": (equals("at.city", "Ulm"), ["a"]),
    "a missing key": (both(equals("when", None), equals("kind", "tool")), ["a"]),
    "either": ({"operator": "OR", "conditions": [equals("year", 2020), equals("year", 2024)]}, ["a", "b"]),
    "one of several": (compares("meta.year", "in", [2024, 1999, "x"]), ["b"]),
    "none of several": (both(equals("kind", "tool"), compares("meta.year", "not in", [2024, 1])), ["a"]),
    "another value": (both(equals("kind", "tool"), compares("meta.year", "!=", 2020)), ["b"]),
    "more": (compares("meta.year", ">", 2020), ["b"]),
    "less, without `meta.`": (compares("year", "<=", 2020), ["a"]),
    "a date before another": (compares("meta.when", "<", "2025-01-01"), ["b"]),
}


@pytest.fixture
def edited(tiny_run_copy):
    texts = {"a": "solar kettle appliance", "b": "copper violin instrument"}
    RunPassages(tiny_run_copy).add(texts, KEPT)
    return tiny_run_copy


@pytest.mark.parametrize("case", FILTERS)
def test_filters_on_metadata_are_looked_up_and_no_document_is_asked(edited, case, monkeypatch):
    filters, expected = FILTERS[case]
    component = XmcRetriever(edited, filters=filters)
    monkeypatch.setattr(PassagesNow, "named", None)
    assert sorted(d.id for d in component.run("solar kettle")["documents"]) == expected


def test_other_filters_are_asked_of_each_document(edited):
    for filters, expected in [
        (compares("content", "==", "solar kettle appliance"), ["a"]),
        (both(compares("id", "in", ["a", "b"]), compares("meta.year", ">", 2020)), ["b"]),
        (compares("meta.year", "==", np.int64(2020)), ["a"]),
    ]:
        found = XmcRetriever(edited, filters=filters).run("solar kettle")["documents"]
        assert [document.id for document in found] == expected


VALUES = [2020, 2021.5, True, 0, "2024-05-01", "2024-05-01T00:00:00+02:00", "abc", "", None, [1], [], {"a": 1}]
FIELDS = ["meta.x", "meta.y", "x", "meta.x.a", "x.a", "meta.none"]


def any_filter(draw, depth):
    if depth and draw.random() < 0.6:
        conditions = [any_filter(draw, depth - 1) for _ in range(draw.randrange(4))]
        return {"operator": draw.choice(["AND", "OR", "NOT"]), "conditions": conditions}
    operator = draw.choice(["==", "!=", "in", "not in", ">", ">=", "<", "<="])
    several = [draw.choice(VALUES) for _ in range(draw.randrange(4))]
    return compares(draw.choice(FIELDS), operator, several if "in" in operator else draw.choice(VALUES))


def outcome(call):
    """What a call answers, or that it cannot compare."""
    try:
        return call()
    except (FilterError, TypeError):
        return FilterError


def test_what_a_service_can_be_asked_is_written_down():
    def written(operator, value):
        return write_filter(_keeper({"field": "meta.year", "operator": operator, "value": value}))

    assert written("==", "x") == {"year": {"$in": ["x"]}} and written("not in", [1]) == {"$not": {"year": {"$in": [1]}}}
    assert [written(order, 2020) for order in (">", ">=", "<", "<=")] == [
        {"year": {order: 2020}} for order in ("$gt", "$gte", "$lt", "$lte")
    ]
    assert written("==", None) is None is written(">", "2020-01-01")


@pytest.mark.filterwarnings("ignore:.*labels? stands? beside")
def test_what_is_looked_up_is_what_haystack_says_of_each_document(tiny_run_copy):
    draw = random.Random(0)
    kept = {f"n{row:02d}": {"x": value, "y": VALUES[-row]} for row, value in enumerate(VALUES)} | {"z": {"y": 3}}
    passages = RunPassages(tiny_run_copy)
    passages.add({label_id: f"lantern {label_id}" for label_id in kept}, kept)
    documents = [Document(id=label_id, meta=kept.get(label_id, {})) for label_id in passages.ids()]
    refused = looked_up = 0
    for _ in range(400):
        filters = any_filter(draw, 2)
        expected = outcome(lambda: [d.id for d in documents if document_matches_filter(filters, d)])  # noqa: B023
        keep = _keeper(filters)
        assert outcome(lambda: passages.ids(keep)) == expected, filters  # noqa: B023
        refused += expected is FilterError
        looked_up += isinstance(keep, LookedUp)
    assert 50 < refused < 350 and looked_up > 150


def test_a_value_that_cannot_be_compared_is_named(edited):
    for value, shown in (("abc", "'abc'"), ([1], r"\[1\]")):
        RunPassages(edited).add({"c": "a lantern"}, {"c": {"year": value}})
        late = compares("meta.year", ">", 2021)
        with pytest.raises(FilterError, match=rf"meta.year.*cannot be asked of a document with the meta .*{shown}"):
            XmcRetriever(edited, filters=late).run("solar kettle")
        found = XmcRetriever(edited, filters=both(equals("kind", "tool"), late)).run("solar kettle")["documents"]
        assert [document.id for document in found] == ["b"]


BROKEN = [
    {"operator": "AND"},
    {"field": "meta.a", "value": 1},
    {"operator": "=="},
    {"field": "meta.a", "operator": "in", "value": "abc"},
    {"field": "meta.a", "operator": "near", "value": 1},
    {"field": 3, "operator": "==", "value": 1},
    {"operator": "AND", "conditions": [equals("year", "none has this"), {"field": "meta.a", "value": 1}]},
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_filter_is_refused_by_haystack(tiny_run, broken):
    with pytest.raises(FilterError):
        XmcRetriever(tiny_run, filters=broken).run("solar kettle")


def test_a_component_is_written_and_read_and_opens_its_run_when_it_is_warmed_up(tiny_run):
    made = XmcRetriever(tiny_run, top_k=3, min_probability=0.4, allowed=["L21"], filters={})
    read = XmcRetriever.from_dict(made.to_dict())
    assert read.to_dict() == made.to_dict()
    missing = XmcRetriever("no/such/run")
    with pytest.raises(ArtifactError, match="is not a run folder"):
        missing.warm_up()
    with pytest.raises((ArtifactError, PipelineRuntimeError), match="is not a run folder"):
        pipeline_of(missing).run({"retriever": {"query": "a"}, "prompt": {"question": "a"}})


def test_a_retriever_cannot_be_written_down(tiny_run):
    component = XmcRetriever(Retriever.load(tiny_run))
    assert component.run("tender tram", top_k=1)["documents"][0].id == "L21"
    with pytest.raises(ConfigError, match="this one has a Retriever"):
        component.to_dict()


def test_a_component_that_has_searched_can_be_copied_and_sent_to_another_process(tiny_run):
    component = XmcRetriever(tiny_run, top_k=2)
    found = component.run("tender tram")
    assert copy.deepcopy(component).run("tender tram") == found
    assert pickle.loads(pickle.dumps(component)).run("tender tram") == found
