"""The forms that other clients speak, by OpenAI's own client where there is one."""

import base64

import numpy as np
import openai
import pytest
from serve_cases import BASE, client_of

import xmc
from xmc.integrations.run_passages import RunPassages


@pytest.fixture(scope="module")
def by_openai(client):
    """OpenAI's client over the app's own."""
    return openai.OpenAI(api_key="none", base_url=f"{BASE}/v1", http_client=client, max_retries=0)


TEXTS = ["red apple", "green pear"]


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings(by_openai, offline, encoding):
    answer = by_openai.embeddings.create(model="good", input=TEXTS, encoding_format=encoding)
    found = [row.embedding for row in answer.data]
    if encoding == "base64":
        found = [np.frombuffer(base64.b64decode(vector), "<f4") for vector in found]
    np.testing.assert_allclose(np.array(found), offline.encode(TEXTS).numpy(), rtol=1e-6)
    assert [row.index for row in answer.data] == [0, 1] and answer.model == "good"


def test_embeddings_by_default_and_of_documents(by_openai, client, offline):
    from xmc.encode.encoder import embed_texts

    found = by_openai.embeddings.create(model="good", input="red apple").data[0].embedding  # asks for base64
    np.testing.assert_allclose(found, offline.encode(["red apple"])[0].numpy(), rtol=1e-6)
    body = {"input": "red apple", "input_type": "document", "dimensions": offline.encoder.dimension}
    found = client.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    np.testing.assert_allclose(found, embed_texts(offline.encoder, ["red apple"], "label")[0].numpy(), rtol=1e-6)


def test_store_search(by_openai, offline):
    page = by_openai.vector_stores.search("good", query="red apple", max_num_results=4)
    hits = offline.search(["red apple"], k=4)[0]
    assert [item.file_id for item in page.data] == [hit.label_id for hit in hits]
    assert [item.score for item in page.data] == [hit.probability for hit in hits]
    assert [item.content[0].text for item in page.data] == [hit.text for hit in hits]
    assert [item.attributes["score"] for item in page.data] == [hit.score for hit in hits]


def test_store_search_has_the_metadata_that_openai_s_form_can_hold(tiny_run_copy):
    (best,) = xmc.Retriever.load(tiny_run_copy).search(["red apple"], k=1)[0]
    kept = {"source": "a.txt", "page": 3, "draft": False, "score": 7, "tags": ["a"], "none": None, "long": "a" * 513}
    RunPassages(tiny_run_copy).add({best.label_id: best.text}, {best.label_id: kept})
    with client_of({"run": tiny_run_copy}) as client:
        first, second = client.post("/v1/vector_stores/run/search", json={"query": "red apple"}).json()["data"][:2]
    assert first["attributes"] == {"source": "a.txt", "page": 3, "draft": False, "score": best.score, "rank": 1}
    assert set(second["attributes"]) == {"rank", "score"}


def test_store_search_abstains_by_probability(by_openai, offline):
    options = {"score_threshold": 0.9}
    page = by_openai.vector_stores.search("good", query="red apple", ranking_options=options)
    assert [item.file_id for item in page.data] == [
        hit.label_id for hit in offline.search(["red apple"], min_probability=0.9)[0]
    ]
    with pytest.raises(openai.ConflictError, match="xmc check calibrate") as refused:
        by_openai.vector_stores.search("plain", query="red apple", ranking_options=options)
    assert refused.value.code == "not_calibrated"


def test_store_search_filters(by_openai, offline):
    ids = offline.labels.ids
    some = {"type": "in", "key": "id", "value": ids[:6]}
    filters = {"type": "and", "filters": [some, {"type": "ne", "key": "label_id", "value": ids[2]}]}
    page = by_openai.vector_stores.search("good", query="red apple", filters=filters)
    allowed = [*ids[:2], *ids[3:6]]
    assert [item.file_id for item in page.data] == [
        hit.label_id for hit in offline.search(["red apple"], allowed=allowed)[0]
    ]
    either = {"type": "or", "filters": [{"type": "eq", "key": "id", "value": label_id} for label_id in ids[:2]]}
    assert {item.file_id for item in by_openai.vector_stores.search("good", query="a", filters=either).data} == {
        *ids[:2]
    }
    nobody = {"type": "eq", "key": "id", "value": "no such label"}
    assert by_openai.vector_stores.search("good", query="red apple", filters=nobody).data == []


def test_several_queries_give_each_label_once(by_openai, offline):
    page = by_openai.vector_stores.search("good", query=TEXTS, max_num_results=8)
    ids = [item.file_id for item in page.data]
    best: dict[str, float] = {}
    for hit in [hit for hits in offline.search(TEXTS, k=8) for hit in hits]:
        best[hit.label_id] = max(best.get(hit.label_id, 0), hit.probability)
    assert ids == sorted(best, key=lambda label_id: (-best[label_id], label_id))[:8]


def test_an_unknown_store(by_openai):
    with pytest.raises(openai.NotFoundError, match="no such run here"):
        by_openai.vector_stores.search("other", query="red apple")


def test_rerank(client, offline):
    documents = [offline.labels.texts[row] for row in (5, 0, 9)]
    body = {"query": "red apple", "documents": [documents[0], {"text": documents[1]}, documents[2]]}
    answer = client.post("/v1/rerank", json=body).json()
    hits = offline.search(["red apple"], k=1000)[0]
    scores = {hit.text: hit.score for hit in hits}
    expected = sorted(range(3), key=lambda row: (-scores[documents[row]], row))
    assert [result["index"] for result in answer["results"]] == expected
    for result in answer["results"]:
        assert result["relevance_score"] == pytest.approx(scores[documents[result["index"]]], abs=1e-5)
        assert result.get("document") is None
    few = client.post("/v1/rerank", json=body | {"top_n": 2, "return_documents": True}).json()["results"]
    assert [result["document"]["text"] for result in few] == [documents[row] for row in expected[:2]]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/rerank", {"query": "a", "documents": ["a", " "]}, "document 1 is an empty text"),
        ("/v2/rerank", {"query": " ", "documents": ["a"]}, "query 0 is an empty text"),
        ("/v1/embeddings", {"input": ["a", "\t"]}, "text 1 is an empty text"),
        ("/v1/search", {"texts": ["a", "\n"]}, "text 1 is an empty text"),
    ],
)
def test_a_blank_text_is_named_as_what_it_is(client, path, body, said):
    answer = client.post(path, json=body)
    assert answer.status_code == 422 and answer.json()["error"]["message"].startswith(said)


def test_rerank_in_the_second_form(client, offline):
    """What cohere.ClientV2.rerank sends and reads."""
    documents = [offline.labels.texts[row] for row in (5, 0, 9)]
    body = {"model": "good", "query": "red apple", "documents": documents}
    first, answer = (client.post(f"/v{version}/rerank", json=body).json() for version in (1, 2))
    assert answer["results"] == [{key: hit[key] for key in ("index", "relevance_score")} for hit in first["results"]]
    assert answer["meta"] == {"api_version": {"version": "2"}} and len(answer["id"]) == 36
    more = client.post("/v2/rerank", json=body | {"top_n": 1, "max_tokens_per_doc": 512, "priority": 3}).json()
    assert more["results"] == answer["results"][:1] and more["id"] != answer["id"]
    assert [warning.split()[0] for warning in more["meta"]["warnings"]] == ["max_tokens_per_doc", "priority"]


def test_the_runs_are_models_and_vector_stores(by_openai, offline):
    models = list(by_openai.models.list())
    assert [model.id for model in models] == ["good", "plain"]
    assert {model.object for model in models} == {"model"} and models[0].created > 1.7e9
    assert [by_openai.models.retrieve(model.id) for model in models] == models
    stores = list(by_openai.vector_stores.list())
    assert [store.id for store in stores] == ["good", "plain"]
    assert stores[0].file_counts.completed == stores[0].file_counts.total == len(offline.labels)
    assert [by_openai.vector_stores.retrieve(store.id) for store in stores] == stores
    for part in (by_openai.models, by_openai.vector_stores):
        with pytest.raises(openai.NotFoundError, match="no such run here"):
            part.retrieve("other")
    assert stores[0].status == "completed" and stores[0].usage_bytes == offline.report.memory_bytes
    assert by_openai.vector_stores.search(stores[1].id, query="red apple", max_num_results=1).data


TOKENS = (
    "numbers of tokens are not taken, since a run has an encoder of its own: send texts. LangChain's OpenAIEmbeddings "
    "does so with check_embedding_ctx_length=False"
)
COMPARED = {"type": "eq", "key": "id", "value": "a"}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("embeddings", {"input": ["a", 2]}, "input.1: Input should be a valid string."),
        ("embeddings", {"input": [1, 2]}, f"input: {TOKENS}."),
        ("embeddings", {"input": [[1, 2], [3]]}, f"input: {TOKENS}."),
        ("embeddings", {"input": [True]}, "input.0: Input should be a valid string."),
        ("embeddings", {"input": None}, "input: Input should be a valid string."),
        (
            "rerank",
            {"query": "a", "documents": ["a", {"title": "b"}]},
            "documents.1.text: Field required; documents.1.",
        ),
        (
            "vector_stores/good/search",
            {"query": "a", "filters": COMPARED | {"value": 7}},
            "filters.eq: a label id is compared with texts, by eq, ne, in or nin.",
        ),
        (
            "vector_stores/good/search",
            {"query": "a", "filters": {"type": "gt", "key": "year", "value": True}},
            "filters.gt: values are texts, numbers, and but for an order true and false.",
        ),
        (
            "vector_stores/good/search",
            {"query": "a", "filters": {"type": "<gt>"}},
            "filters: 'type' must be one of 'eq'",
        ),
        ("vector_stores/good/search", {"query": "a", "filters": {}}, "filters: 'type' is missing"),
        (
            "vector_stores/good/search",
            {"query": "a", "filters": {"type": "and", "filters": [COMPARED | {"type": "in"}]}},
            "filters.and.filters.0.in: in and nin take a list, the others one value.",
        ),
        (
            "vector_stores/good/search",
            {"query": "a", "filters": {"type": "or", "filters": [COMPARED] * 101}},
            "filters.or: there may be 100 conditions; in and nin take many values in one.",
        ),
    ],
)
def test_a_refusal_says_where_in_words_of_the_body(client, path, body, message):
    said = client.post(f"/v1/{path}", json=body).json()["error"]["message"]
    assert said.startswith(message) and "function-" not in said and "constrained" not in said and "gt>" not in said


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/rerank", {"query": "a", "documents": [{"text": "a"}]}),
        ("/v2/rerank", {"query": "a", "documents": ["a"], "return_documents": True}),
        ("/v1/embeddings", {"input": []}),
        ("/v1/embeddings", {"input": [1, 2]}),
        ("/v1/embeddings", {"input": "a", "dimensions": 7}),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}),
        ("/v1/embeddings", {"input": " "}),
        ("/v1/rerank", {"query": "a", "documents": []}),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}),
        ("/v1/rerank", {"query": "a", "documents": [{"title": "a"}]}),
        ("/v1/vector_stores/good/search", {"query": "a", "rewrite_query": True}),
        ("/v1/vector_stores/good/search", {"query": "a", "max_num_results": 51}),
        ("/v1/vector_stores/good/search", {"query": "a", "filters": {"type": "gt", "key": "id", "value": "a"}}),
        ("/v1/vector_stores/good/search", {"query": "a", "filters": {"type": "in", "key": "id", "value": "a"}}),
        ("/v1/vector_stores/good/search", {"query": "a", "filters": {"type": "eq", "key": "year", "value": None}}),
        ("/v1/vector_stores/good/search", {"query": "a", "filters": {"type": "in", "key": "year", "value": [{}]}}),
    ],
)
def test_what_cannot_be_answered_is_refused(client, path, body):
    answer = client.post(path, json=body)
    assert answer.status_code == 422 and answer.json()["error"]["message"]


def test_a_run_that_knows_trained_labels_only_ranks_no_texts(tmp_path):
    from serve_cases import client_of

    import xmc

    xmc.train_run("tiny", tmp_path / "run", settings=["head.name=classifier", "train.epochs=1", "encoder.dimension=16"])
    with client_of({"run": tmp_path / "run"}) as client:
        answer = client.post("/v1/rerank", json={"query": "a", "documents": ["b"]})
        assert answer.status_code == 422 and "trained with" in answer.text
