"""Invariants: the retriever works in a chain, synchronous and not; the score threshold of the store is a probability;
diverse hits are those of the definition; a store over a run has its labels."""

import asyncio
import copy
import pickle
import shutil
from datetime import date

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from xmc import Retriever
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.integrations.langchain import XmcEmbeddings, XmcRetriever
from xmc.integrations.langchain_filters import keeper
from xmc.integrations.langchain_store import XmcVectorStore
from xmc.values import Passage

TEXTS = ["solar kettle appliance", "copper violin instrument", "solar violin garden"]


def context(documents):
    lines = [f"[{d.id}] {d.page_content} ({d.metadata['probability']:.2f})" for d in documents]
    return "\n".join(lines) or "nothing relevant"


def test_a_chain_gets_calibrated_context_and_an_abstention(calibrated_run):
    seen = []
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    watch = RunnableLambda(lambda value: seen.append(value.to_string()) or value)
    retriever = XmcRetriever(retriever=calibrated_run, k=3, min_probability=0.5)
    chain = (
        {"context": retriever | context, "question": RunnablePassthrough()}
        | prompt
        | watch
        | FakeListChatModel(responses=["an answer"])
        | StrOutputParser()
    )
    assert chain.invoke("tender tram") == "an answer"
    assert asyncio.run(chain.ainvoke("quarterly revenue forecast")) == "an answer"
    best = Retriever.load(calibrated_run).search(["tender tram"], k=1)[0][0]
    assert seen[0].startswith(f"Human: [L21] tender tram vehicle ({best.probability:.2f})\n\ntender tram")
    assert seen[1].startswith("Human: nothing relevant\n\n")


def test_documents_are_the_hits_of_the_run(calibrated_run):
    (hits,) = Retriever.load(calibrated_run).search(["tender tram"], k=3)
    documents = XmcRetriever(retriever=str(calibrated_run), k=3).invoke("tender tram")
    assert [(d.id, d.page_content) for d in documents] == [(hit.label_id, hit.text) for hit in hits]
    assert documents[1].metadata == {"score": hits[1].score, "rank": 2, "probability": hits[1].probability}


def test_options_of_one_call_synchronous_and_not_are_the_same(tiny_run):
    retriever = XmcRetriever(retriever=Retriever.load(tiny_run), k=5, allowed=["L21", "L09"])
    for options in ({}, {"k": 1}, {"k": 2, "allowed": None}, {"allowed": ["L03"]}, {"filter": {"page": 1}}):
        now = retriever.invoke("tender tram", **options)
        assert asyncio.run(retriever.ainvoke("tender tram", **options)) == now
        assert len(now) == {(): 2, ("k",): 1, ("k", "allowed"): 2, ("allowed",): 1, ("filter",): 0}[tuple(options)]
    assert len(retriever.batch(["tender tram", "vast dumpling"], config={"max_concurrency": 2})) == 2


def test_an_iterator_of_allowed_ids_lasts_for_every_search(tiny_run):
    retriever = XmcRetriever(retriever=Retriever.load(tiny_run), allowed=iter(["L21", "L09"]))
    assert [len(retriever.invoke("tender tram")) for _ in range(2)] == [2, 2]


def test_the_score_threshold_is_a_probability(calibrated_copy):
    store = XmcVectorStore(calibrated_copy)
    (hits,) = Retriever.load(calibrated_copy).search(["tender tram"], k=4)
    found = store.similarity_search_with_relevance_scores("tender tram", k=4)
    assert [(d.id, p) for d, p in found] == [(hit.label_id, hit.probability) for hit in hits]
    assert asyncio.run(store.asimilarity_search_with_relevance_scores("tender tram", k=4)) == found
    assert store.similarity_search_with_score("tender tram", k=4) == found
    options = {"search_type": "similarity_score_threshold", "search_kwargs": {"score_threshold": 0.5, "k": 4}}
    assert [d.id for d in store.as_retriever(**options).invoke("tender tram")] == ["L21"]
    assert store.as_retriever(**options).invoke("quarterly revenue forecast") == []


def test_a_threshold_needs_a_calibration(tiny_run):
    with pytest.raises(ArtifactError, match="calibrate"):
        XmcVectorStore(tiny_run).similarity_search_with_relevance_scores("tender tram", score_threshold=0.5)


def test_without_a_calibration_the_score_is_that_of_the_label(tiny_run):
    (hits,) = Retriever.load(tiny_run).search(["tender tram"], k=2)
    found = XmcVectorStore(tiny_run).similarity_search_with_score("tender tram", k=2)
    assert [score for _, score in found] == [hit.score for hit in hits]


OPTIONS = {
    "of the retriever": lambda run, store: XmcRetriever(retriever=run, top_k=3),
    "misspelt": lambda run, store: XmcRetriever(retriever=run, min_probablity=0.5),
    "of one call": lambda run, store: XmcRetriever(retriever=run).invoke("tender tram", top_k=3),
    "of add_texts": lambda run, store: store.add_texts(TEXTS, metadata=[{}, {}, {}]),
    "of delete": lambda run, store: store.delete(where={"page": 1}),
    "of a search": lambda run, store: store.similarity_search("tender tram", min_probablity=0.5),
    "of a search by vector": lambda run, store: store.similarity_search_by_vector([1.0], top_k=3),
    "of a retriever over the store": lambda run, store: store.as_retriever(search_kwargs={"top_k": 3}).invoke("tram"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_option_that_nothing_reads_is_refused(tiny_run, case):
    with pytest.raises(ConfigError, match=r"has no option '\w+'; it has"):
        OPTIONS[case](tiny_run, XmcVectorStore(tiny_run))


def test_a_misspelt_option_is_told_its_name(tiny_run):
    with pytest.raises(ConfigError, match="Did you mean 'min_probability'"):
        XmcRetriever(retriever=tiny_run, min_probablity=0.5)


def test_a_filter_takes_numbers_of_numpy(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    store.add_texts(TEXTS, [{"page": page} for page in (1, 2, 2)], ids=["a", "b", "c"])
    for written in ({"page": np.int64(2)}, {"page": {"$gt": np.float32(1.5)}}, {"page": {"$in": [np.int8(2)]}}):
        assert {d.id for d in store.similarity_search("solar", filter=written)} == {"b", "c"}


def test_metadata_of_a_text_without_an_id_are_named_by_its_place(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy)
    with pytest.raises(DataError, match="the metadata of 'text 1' cannot be kept"):
        store.add_texts(TEXTS[:2], [{}, {"page": (1,)}])
    with pytest.raises(DataError, match="the metadata of 'b' cannot be kept"):
        store.add_texts(TEXTS[:2], [{}, {"page": (1,)}], ids=[None, "b"])


@pytest.mark.parametrize("vector", ["abc", None, ["a"] * 32, [[1.0], [1.0, 2.0]], {"a": 1}, 5])
def test_what_is_no_vector_is_refused(tiny_run, vector):
    store = XmcVectorStore(tiny_run)
    with pytest.raises(DataError, match="a query vector must be a list of numbers, got"):
        store.similarity_search_by_vector(vector)


def test_filters_by_keys_and_by_function(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    store.add_texts(TEXTS, [{"page": page} for page in (1, 2, 2)], ids=["a", "b", "c"])
    assert {d.id for d in store.similarity_search("solar", filter={"page": 2})} == {"b", "c"}
    assert [d.id for d in store.similarity_search("solar", k=9, filter=lambda d: "kettle" in d.page_content)] == ["a"]
    vector = store.embeddings.embed_query("solar violin")
    by_vector = store.similarity_search_by_vector(vector, k=2, filter={"page": 2})
    assert by_vector == store.similarity_search("solar violin", k=2, filter={"page": 2})
    assert [d.id for d in store.similarity_search_by_vector(vector, allowed=["b", "L03"])] == ["b"]
    diverse = store.max_marginal_relevance_search_by_vector(vector, k=9, allowed=["a", "b"])
    assert {d.id for d in diverse} == {"a", "b"}


def test_a_filter_that_would_find_nothing_in_silence_is_refused(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    store.add_texts(TEXTS, [{"page": {"first": page}} for page in (1, 2, 2)], ids=["a", "b", "c"])
    assert [d.id for d in store.similarity_search("solar", filter={"page": {"first": 1}})] == ["a"]
    for filter, said in [
        ({"page": {"$like": "a%"}}, r"no operator '\$like'; there are: \$eq, .*filter=lambda document"),
        ({"page": {"$gt": 1, "first": 1}}, r"no operator 'first'"),
        ({"$nor": [{"page": 1}]}, r"no operator '\$nor'.* \$and, \$or, \$not"),
        ({"$and": {"page": 1}}, r"'\$and' takes a list of filters, got \{'page': 1\}"),
        ({"$not": [{"page": 1}]}, r"must be a dictionary"),
        ({"page": {"$in": "ab"}}, r"'\$in' takes a list, got 'ab'"),
        ({"page": {"$gt": [1]}}, r"'\$gt' takes a number or a text, got \[1\]"),
        ({"page": {"$gt": 1}}, r"\$gt 1 cannot be asked of \{'first': 1\}, which a passage has under 'page'"),
        ([("page", 1)], "must be a dictionary or a function"),
        (
            {"page": date(2026, 1, 1)},
            "'page' with a value of type date: Object of type date is not JSON ser",
        ),
        (
            {"page": {"$in": ["a", ("b",)]}},
            "'page' with a value of type list: it would come back as another value",
        ),
        (
            {"page": {"$ne": float("nan")}},
            "'page' with a value of type float: Out of range float values",
        ),
        ({"page": {"$gt": 10**5000}}, "'page' with a value of type int: Exceeds the limit"),
        (
            {"page": {1, 2}},
            "'page' with a value of type set: Object of type set is not JSON serializable",
        ),
        ({"$not": {1: 2}}, "the keys of metadata are texts, and a filter has 1"),
    ]:
        with pytest.raises(ConfigError, match=said):
            store.similarity_search("solar", filter=filter)
        with pytest.raises(ConfigError, match=said):
            XmcRetriever(retriever=tiny_run_copy).invoke("solar", filter=filter)


OPERATORS = {
    "eq": ({"page": {"$eq": 2}}, "bd"),
    "ne": ({"page": {"$ne": 2}}, "acef"),
    "in": ({"page": {"$in": [1, 2.0]}}, "abd"),
    "nin": ({"page": {"$nin": [1, 2]}}, "cef"),
    "gt": ({"page": {"$gt": 2}}, "c"),
    "gte, one key of two": ({"page": {"$gte": 2}, "tag": "x"}, "bc"),
    "lt and gt": ({"page": {"$gte": 2, "$lt": 3}}, "bd"),
    "lte of a text": ({"tag": {"$lte": "x"}}, "bc"),
    "or": ({"$or": [{"page": 1}, {"tag": {"$gt": "x"}}]}, "ad"),
    "and": ({"$and": [{"page": {"$gt": 1}}, {"tag": {"$ne": "x"}}]}, "d"),
    "not": ({"$not": {"page": {"$lt": 3}}}, "cef"),
    "what cannot be compared is left out before": ({"page": {"$in": [1, 3]}, "$or": [{"page": {"$gt": 2}}]}, "c"),
    "nothing": ({"$or": []}, ""),
}


@pytest.fixture(scope="module")
def notes(tiny_run, tmp_path_factory):
    run = shutil.copytree(tiny_run, tmp_path_factory.mktemp("notes") / "run")
    store = XmcVectorStore(run, collection="notes")
    kept = [{"page": 1}, {"page": 2, "tag": "x"}, {"page": 3, "tag": "x"}, {"page": 2, "tag": "y"}, {}, {"page": None}]
    store.add_texts([f"solar kettle {row}" for row in range(6)], kept, ids=list("abcdef"))
    return store


@pytest.mark.parametrize("case", OPERATORS)
def test_operators_of_a_filter(notes, case):
    filter, ids = OPERATORS[case]
    found = notes.similarity_search("solar", k=9, filter=filter)
    assert {document.id for document in found} == set(ids)
    each = notes.similarity_search("solar", k=9, filter=lambda document: asked(filter, document))
    assert each == found


def asked(filter, document):
    return keeper(filter)(Passage(document.id, document.page_content, document.metadata))


def test_passages_are_deleted_by_their_metadata(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    store.add_texts(TEXTS, [{"page": page} for page in (1, 2, 2)], ids=["a", "b", "c"])
    store.delete(["a", "b"], filter={"page": 2})
    assert [d.id for d in store.get_by_ids(["a", "b", "c"])] == ["a", "c"]
    store.delete(filter={"page": {"$gt": 1}})
    assert [d.id for d in store.get_by_ids(["a", "b", "c"])] == ["a"]


def test_diverse_hits_are_those_of_the_definition(tiny_run):
    store = XmcVectorStore(tiny_run)
    candidates = store.similarity_search("tender tram", k=12)
    vectors_ND = np.array(store.embeddings.embed_documents([d.page_content for d in candidates]))
    query_D = np.array(store.embeddings.embed_query("tender tram"))
    chosen: list[int] = []
    while len(chosen) < 4:
        rest = [n for n in range(12) if n not in chosen]
        value = {n: 0.3 * vectors_ND[n] @ query_D for n in rest}
        if chosen:
            value = {n: value[n] - 0.7 * max(vectors_ND[n] @ vectors_ND[m] for m in chosen) for n in rest}
        chosen.append(max(value, key=value.get))
    wanted = [candidates[n].id for n in chosen]
    assert wanted != [d.id for d in candidates[:4]]
    options = {"k": 4, "fetch_k": 12, "lambda_mult": 0.3}
    assert [d.id for d in store.max_marginal_relevance_search("tender tram", **options)] == wanted
    by_vector = store.max_marginal_relevance_search_by_vector(query_D.tolist(), **options)
    assert [d.id for d in by_vector] == wanted
    assert store.max_marginal_relevance_search("tender tram", allowed=[]) == []


def test_from_texts_makes_a_collection_of_the_run_of_the_embedding(tiny_run_copy):
    embedding = XmcEmbeddings(tiny_run_copy)
    store = XmcVectorStore.from_texts(TEXTS, embedding, ids=["a", "b", "c"])
    assert store.similarity_search("copper violin", k=1)[0].id == "b"
    assert len(store.similarity_search("copper violin", k=9)) == 3
    again = XmcVectorStore(tiny_run_copy, collection="langchain")
    assert [d.id for d in again.get_by_ids(["a", "b"])] == ["a", "b"]
    assert len(XmcVectorStore(tiny_run_copy).similarity_search("copper violin", k=99)) == 63
    with pytest.raises(ConfigError, match="DeterministicFakeEmbedding is of none"):
        XmcVectorStore.from_texts(TEXTS, DeterministicFakeEmbedding(size=6))


def test_lengths_that_differ_are_refused_before_anything_is_written(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    with pytest.raises(DataError, match="1 metadata for 3 texts"):
        store.add_texts(TEXTS, [{}])
    with pytest.raises(DataError, match="1 id for 3 texts"):
        store.add_texts(TEXTS, ids=["a"])
    assert store.add_texts([]) == []
    assert not (tiny_run_copy / "passages").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "text 1 is an empty text"),
        (None, "text 1 is None"),
        (b"a page", "text 1 is b'a page'"),
        ("a page " * 200_000, "text 1 has 1,400,000 characters"),
    ],
)
def test_what_is_no_text_is_named_by_its_place(text, message, tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    with pytest.raises(DataError, match=message):
        store.add_texts(["a page", text])
    assert store.similarity_search("a page") == []


def test_one_text_is_not_taken_for_its_letters(tiny_run_copy):
    store = XmcVectorStore(tiny_run_copy, collection="notes")
    store.add_texts(["solar kettle", "copper violin"], ids=["a", "b"])
    for call in (
        lambda: store.delete("ab"),
        lambda: store.get_by_ids("ab"),
        lambda: store.add_texts("ab"),
        lambda: store.add_texts(["one", "two"], ids="xy"),
    ):
        with pytest.raises(DataError, match=r"must be a list, got one text: '(ab|xy)'. Write it in brackets"):
            call()
    assert [d.id for d in store.get_by_ids(["a", "b", "x"])] == ["a", "b"]


def test_what_is_made_of_a_folder_can_be_sent_to_another_process(tiny_run_copy):
    retriever, store = XmcRetriever(retriever=tiny_run_copy, k=2), XmcVectorStore(tiny_run_copy, collection="notes")
    store.add_texts(TEXTS, ids=["a", "b", "c"])
    sent, sent_store = pickle.loads(pickle.dumps((retriever, store)))
    assert sent.invoke("solar kettle") == retriever.invoke("solar kettle") == copy.deepcopy(sent).invoke("solar kettle")
    assert sent_store.similarity_search("solar") == store.similarity_search("solar")
