"""`POST /v1/search`: the answers of the embedded library, over HTTP."""

import asyncio
import gzip
import json

import pytest

from xmc.serve.json_answers import json_list_response

TEXTS = ["red apple", "green pear", "something else"]


def ask(client, **body):
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def as_rows(hits):
    return [list(hit._asdict().values()) for hit in hits]


def rows(result):
    return [list(hit.values()) for hit in result["hits"]]


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_texts_are_answered_as_offline(client, offline, k):
    answer = ask(client, texts=TEXTS, k=k)
    assert [rows(result) for result in answer["results"]] == [as_rows(hits) for hits in offline.search(TEXTS, k=k)]
    assert answer["run"] == "good" and answer["generation"] == offline.generation
    assert {result["truncated"] for result in answer["results"]} == {k > len(offline.labels)}


def test_vectors_are_answered_as_texts(client, offline):
    vectors = offline.encode(TEXTS).tolist()
    assert ask(client, vectors=vectors)["results"] == ask(client, texts=TEXTS)["results"]


def test_a_filter_and_a_threshold(client, offline):
    allowed = offline.labels.ids[3:9]
    answer = ask(client, texts=TEXTS, k=20, allowed=allowed)
    assert [rows(result) for result in answer["results"]] == [
        as_rows(hits) for hits in offline.search(TEXTS, k=20, allowed=allowed)
    ]
    assert all(result["truncated"] for result in answer["results"])
    by_vector = ask(client, vectors=offline.encode(TEXTS).tolist(), k=20, allowed=allowed)
    assert by_vector["results"] == answer["results"]
    few = ask(client, texts=TEXTS, min_probability=0.5)
    assert [rows(result) for result in few["results"]] == [
        as_rows(hits) for hits in offline.search(TEXTS, min_probability=0.5)
    ]


def test_others_are_answered_while_a_long_answer_is_written():
    async def written():
        turns = []

        async def other():
            for turn in range(3):
                turns.append(f"other {turn}")
                await asyncio.sleep(0)

        def items():
            for item in range(3):
                turns.append(f"item {item}")
                yield {"item": item}

        waiting = asyncio.create_task(other())
        answer = await json_list_response({"é": 1}, "results", items(), most_bytes=99, generation="7")
        await waiting
        return answer, turns

    answer, turns = asyncio.run(written())
    assert json.loads(answer.body) == {"é": 1, "results": [{"item": 0}, {"item": 1}, {"item": 2}]}
    assert answer.headers["content-type"] == "application/json" and answer.headers["X-XMC-Generation"] == "7"
    assert turns.index("other 0") < turns.index("item 1") and turns.index("other 1") < turns.index("item 2")


def test_nothing_relevant_is_said(client):
    result = ask(client, texts=["something else"], min_probability=1.0)["results"][0]
    assert result["abstained"] and result["hits"] == []


def test_label_sets(client, offline):
    answer = ask(client, texts=TEXTS, sets={"alpha": 0.3, "risk": "coverage"})
    offline_sets = offline.search_sets(TEXTS, alpha=0.3, risk="coverage")
    assert [rows(result) for result in answer["results"]] == [as_rows(hits) for hits in offline_sets]


def test_certificates(client):
    certified = ask(client, texts=TEXTS, certify=True)["results"]
    assert [result["certified"] for result in certified] == [True] * 3
    assert ask(client, texts=TEXTS)["results"][0]["certified"] is None


def test_an_approximate_index_tells_which_lists_are_proven(tiny_run_copy):
    from serve_cases import client_of

    import xmc

    xmc.index_run(tiny_run_copy, settings=["index.name=ivf", "index.nlist=4", "index.nprobe=1"])
    with client_of({"ivf": tiny_run_copy}) as client:
        texts = [f"query {word}" for word in range(40)]
        found = {result["certified"] for result in ask(client, texts=texts, k=2, certify=True)["results"]}
        assert found <= {True, False} and False in found
        filtered = ask(client, texts=texts, certify=True, allowed=[xmc.Retriever.load(tiny_run_copy).labels.ids[0]])
        assert {result["certified"] for result in filtered["results"]} == {None}


def test_the_second_run_answers_when_named(client):
    answer = ask(client, texts=TEXTS, run="plain")
    assert answer["run"] == "plain" and answer["results"][0]["hits"][0]["probability"] is None


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "texts or vectors"),
        ({"texts": ["a"], "vectors": [[1.0]]}, 422, "texts or vectors"),
        ({"texts": []}, 422, "at least 1"),
        ({"texts": [" "]}, 422, "empty"),
        ({"texts": "a"}, 422, "array"),
        ({"texts": [1]}, 422, "string"),
        ({"texts": ["a"], "k": "5"}, 422, "integer"),
        ({"texts": ["a"], "k": 0}, 422, "k"),
        ({"texts": ["a"], "k": 1.5}, 422, "integer"),
        ({"texts": ["a"], "k": True}, 422, "integer"),
        ({"texts": ["a"], "top": 5}, 422, "top: there is no such field; there are texts, vectors, k, "),
        ({"texts": ["a"], "sets": {"beta": 1}}, 422, "sets.beta: there is no such field."),
        ({"texts": ["a"], "allowed": ["no such label"]}, 422, "no such label"),
        ({"texts": ["a"], "min_probability": 1.5}, 422, "min_probability"),
        ({"texts": ["a"], "sets": {"alpha": 1e-9}}, 422, "alpha"),
        ({"texts": ["a"], "sets": {"risk": "none"}}, 422, "risk"),
        ({"vectors": [[1.0, 2.0]]}, 422, "numbers"),
        ({"vectors": [[0.0] * 31 + [1e39]]}, 422, "infinity"),
        ({"vectors": [[0.0] * 31 + [1e19]]}, 422, "infinity"),
        ({"texts": ["a"], "run": "none"}, 404, "good, plain"),
        ({"texts": ["a"], "run": "../good"}, 422, "run"),
        ({"texts": ["a"], "run": "plain", "min_probability": 0.5}, 409, "calibrate"),
        ({"texts": ["a"], "run": "plain", "sets": {}}, 409, "conformal"),
    ],
)
def test_what_cannot_be_answered_is_explained(client, body, status, said):
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"texts":["\\ud800"]}', b'{"texts":["a"],"k":1e400}',
        b'{"vectors":[[NaN]]}', b'{"vectors":[[Infinity]]}', b"[" * 100_000, b'{"k":' + b"9" * 5000 + b"}",
        b'{"texts":["a"],"k":-1}', b'{"a":' * 5000, b'{"texts":["a\x00"]}' b"x",
    ],
)  # fmt: skip
def test_broken_bodies_are_refused(client, content):
    answer = client.post("/v1/search", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"


def test_other_content_types_are_refused(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/v1/search", content=b"{}", headers={"content-type": kind})
        assert answer.status_code == 415, kind


def test_a_compressed_body_is_refused_as_such(client):
    asked, headers = json.dumps({"texts": TEXTS}).encode(), {"content-type": "Application/JSON; charset=utf-8"}
    answer = client.post("/v1/search", content=gzip.compress(asked), headers={**headers, "content-encoding": "gzip"})
    assert answer.status_code == 415 and "must not be compressed" in answer.text
    answer = client.post("/v1/search", content=asked, headers={**headers, "content-encoding": "identity"})
    assert answer.status_code == 200


def test_runs_are_described(client, offline, tiny_run):
    answer = client.get("/v1/runs").json()
    assert [run["name"] for run in answer["runs"]] == ["good", "plain"]
    good, plain = answer["runs"]
    assert good["labels"] == len(offline.labels) and good["generation"] == offline.generation
    assert (good["calibrated"], good["label_sets"]) == (True, True)
    assert (plain["calibrated"], plain["label_sets"]) == (False, False)
    assert str(tiny_run) not in str(answer)


def test_state_and_metrics(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["runs"]["good"]["reload_error"] == ""
    ask(client, texts=TEXTS)
    page = client.get("/metrics").text
    assert (
        'xmc_requests_total{route="/v1/search",status="200"}' in page and 'xmc_batch_queries_count{run="good"}' in page
    )
    client.get("/no/such/path")
    assert "no/such" not in client.get("/metrics").text


def test_every_answer_has_an_id_and_no_store(client):
    first, second = client.get("/healthz"), client.get("/no/such/path")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert second.status_code == 404 and second.json()["error"]["code"] == "not_found"
    assert first.headers["cache-control"] == "no-store" and first.headers["x-content-type-options"] == "nosniff"
