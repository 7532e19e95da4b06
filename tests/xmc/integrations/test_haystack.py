"""Invariants: the component works in a pipeline, written to YAML and read again, synchronous and not."""

import asyncio

import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack.core.errors import DeserializationError, PipelineRuntimeError
from haystack.errors import FilterError

from xmc import Retriever
from xmc.errors import ArtifactError, ConfigError
from xmc.integrations.haystack import XmcRetriever, _keeper
from xmc.integrations.passages import Equals
from xmc.integrations.run_passages import RunPassages

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


FILTERS = {
    "one value": (equals("year", 2020), ["a"], True),
    "a number is a number": (equals("year", 2020.0), ["a"], True),
    "a word": (equals("kind", "tool"), ["a", "b"], True),
    "two values": (both(equals("kind", "tool"), equals("year", 2024)), ["b"], True),
    "no such value": (both(equals("kind", "tool"), equals("year", 1)), [], True),
    "a key twice": (both(equals("year", 2020), equals("year", 2024)), [], False),
    "a moment in other words": (equals("when", "2024-05-01T00:00:00"), ["b"], False),
    "a value within a value": (equals("at.city", "Ulm"), ["a"], False),
    "a missing key": (both(equals("when", None), equals("kind", "tool")), ["a"], False),
    "either": ({"operator": "OR", "conditions": [equals("year", 2020), equals("year", 2024)]}, ["a", "b"], False),
}


@pytest.mark.parametrize("case", FILTERS)
def test_equal_values_are_looked_up_and_other_filters_asked(tiny_run_copy, case):
    filters, expected, is_looked_up = FILTERS[case]
    texts = {"a": "solar kettle appliance", "b": "copper violin instrument"}
    meta = {"kind": "tool", "year": 2020, "at": {"city": "Ulm"}}, {"kind": "tool", "year": 2024, "when": "2024-05-01"}
    RunPassages(tiny_run_copy).add(texts, dict(zip("ab", meta, strict=True)))
    component = XmcRetriever(tiny_run_copy, filters=filters)
    assert sorted(d.id for d in component.run("solar kettle")["documents"]) == expected
    assert isinstance(_keeper(filters), Equals) == is_looked_up


@pytest.mark.parametrize("broken", [{"operator": "AND"}, {"field": "meta.a", "value": 1}, {"operator": "=="}])
def test_a_broken_filter_is_refused_by_haystack(tiny_run, broken):
    with pytest.raises(FilterError):
        XmcRetriever(tiny_run, filters=broken).run("solar kettle")


def test_a_component_is_written_and_read_and_opens_its_run_when_it_is_warmed_up(tiny_run):
    made = XmcRetriever(tiny_run, top_k=3, min_probability=0.4, allowed=["L21"], filters={})
    read = XmcRetriever.from_dict(made.to_dict())
    assert read.to_dict() == made.to_dict()
    missing = XmcRetriever("no/such/run")
    with pytest.raises(ArtifactError, match="no run folder"):
        missing.warm_up()
    with pytest.raises((ArtifactError, PipelineRuntimeError), match="no run folder"):
        pipeline_of(missing).run({"retriever": {"query": "a"}, "prompt": {"question": "a"}})


def test_a_retriever_cannot_be_written_down(tiny_run):
    component = XmcRetriever(Retriever.load(tiny_run))
    assert component.run("tender tram", top_k=1)["documents"][0].id == "L21"
    with pytest.raises(ConfigError, match="this one has a Retriever"):
        component.to_dict()
