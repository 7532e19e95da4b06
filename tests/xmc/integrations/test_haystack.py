"""Invariants: the component works in a pipeline, written to YAML and read again, synchronous and not."""

import asyncio

import pytest
from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack.core.errors import DeserializationError, PipelineRuntimeError

from xmc import Retriever
from xmc.errors import ArtifactError, ConfigError
from xmc.integrations.haystack import XmcRetriever
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
    assert [(d.id, d.content, d.score) for d in found] == [(hit.label_id, hit.text, hit.score) for hit in hits]
    assert found[1].meta == {"score": hits[1].score, "rank": 2, "probability": hits[1].probability}


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
