"""Every bound of the service, at the bound and one beyond it."""

import asyncio
import json
import threading
import time
from dataclasses import fields
from types import SimpleNamespace

import pytest
from serve_cases import ADMIN, AS_ADMIN, client_of

import xmc
from xmc.engine.label_editing import LabelEditor
from xmc.errors import ConfigError
from xmc.serve.access import Access
from xmc.serve.batcher import Batcher
from xmc.serve.guard import Guard
from xmc.serve.json_answers import to_json
from xmc.serve.limits import Limits, read_limits
from xmc.serve.served_run import LabelsChange
from xmc.serve.server import bind, run_server
from xmc.serve.service import Service

SMALL = Limits(body_bytes=4_000, text_bytes=100, queries=4, k=20, hits=60, allowed_labels=3, labels=5)


@pytest.fixture(scope="module")
def small(calibrated_run):
    with client_of({"good": calibrated_run}, limits=SMALL) as opened:
        yield opened


def status(client, body, path="/v1/search", **options):
    return client.post(path, json=body, **options).status_code


def test_queries_of_a_request(small):
    assert status(small, {"texts": ["a"] * 4}) == 200
    assert status(small, {"texts": ["a"] * 5}) == 422
    assert status(small, {"input": ["a"] * 4}, "/v1/embeddings") == 200
    assert status(small, {"input": ["a"] * 5}, "/v1/embeddings") == 422
    assert status(small, {"query": "a", "documents": ["a"] * 4}, "/v1/rerank") == 200
    assert status(small, {"query": "a", "documents": ["a"] * 5}, "/v1/rerank") == 422
    assert status(small, {"query": ["a"] * 4}, "/v1/vector_stores/good/search") == 200
    assert status(small, {"query": ["a"] * 5}, "/v1/vector_stores/good/search") == 422


def test_labels_of_a_change(small):
    labels = {f"l{number}": "a text" for number in range(6)}
    body = {"action": "replace", "labels": labels}
    answer = small.post("/v1/labels", json=body, headers=AS_ADMIN)
    assert answer.status_code == 422 and "labels: 6 is over the limit of 5 (labels)." in answer.text
    for text, said in (("x" * 101, "the text of label 'l1' has 101 bytes"), (" ", "label 'l1' has an empty text")):
        answer = small.post("/v1/labels", json={**body, "labels": {"l1": text}}, headers=AS_ADMIN)
        assert answer.status_code == 422 and said in answer.text


def test_k_and_hits(small):
    assert status(small, {"texts": ["a"], "k": 20}) == 200
    assert status(small, {"texts": ["a"], "k": 21}) == 422
    assert status(small, {"texts": ["a"] * 3, "k": 20}) == 200
    assert status(small, {"texts": ["a"] * 4, "k": 16}) == 422


def test_sets_are_as_large_as_their_largest(small, client):
    answer = small.post("/v1/search", json={"texts": ["a"], "sets": {}})
    assert answer.status_code == 422 and "hits (queries times the largest set): 1,000 is over the limit" in answer.text
    answer = client.post("/v1/search", json={"texts": ["a"], "sets": {}, "k": 5})
    assert answer.status_code == 422 and "sets go with none of k, min_probability and certify" in answer.text
    assert status(client, {"texts": ["a"], "sets": {}}) == 200


def test_label_sets_have_no_k_that_could_be_too_large(calibrated_run, offline):
    largest = offline.fitted.label_sets.most_labels
    with client_of({"good": calibrated_run}, limits=Limits(k=5, queries=2, hits=2 * largest)) as few:
        assert status(few, {"texts": ["a"] * 2, "sets": {}}) == 200
        assert status(few, {"texts": ["a"] * 3, "sets": {}}) == 422
        assert status(few, {"texts": ["a"], "k": 6}) == 422


def test_what_is_no_search_waits_within_the_same_bound():
    async def ask(service):
        work = [service.searching(lambda: time.sleep(0.05)) for _ in range(5)]
        return await asyncio.gather(*work, return_exceptions=True)

    service = Service({}, limits=Limits(waiting=3), observe=lambda run, timed: None)
    for _ in range(2):  # what was sent away takes no place
        assert [type(answer).__name__ for answer in asyncio.run(ask(service))] == ["NoneType"] * 3 + [
            "RefusedError"
        ] * 2
    service.close()


def test_a_service_that_ends_waits_for_a_change_but_not_for_a_search():
    changed, searching, go = threading.Event(), threading.Event(), threading.Event()

    def edit(change):
        time.sleep(0.3)
        changed.set()

    async def begin(service):
        change = asyncio.create_task(service.edit(SimpleNamespace(edit=edit), LabelsChange("put", {"a": "b"})))
        search = asyncio.create_task(service.searching(lambda: searching.set() or go.wait(10)))
        while not searching.is_set():
            await asyncio.sleep(0.001)
        service.close()
        change.cancel()
        search.cancel()
        await asyncio.gather(change, search, return_exceptions=True)

    service = Service({}, limits=Limits(), observe=lambda run, timed: None)
    asyncio.run(begin(service))
    assert not changed.is_set()
    assert not service.ended(0.05) and changed.is_set()
    go.set()
    assert service.ended(5)


def items_of(content, name):
    return [to_json(item) for item in json.loads(content)[name]]


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/search", {"texts": ["a"] * 3, "k": 9}, "results"),
        ("/v1/vector_stores/good/search", {"query": ["a", "b"]}, "data"),
        ("/v1/embeddings", {"input": ["a"] * 3}, "data"),
    ],
)
def test_bytes_of_an_answer(calibrated_run, client, path, body, name):
    size = sum(map(len, items_of(client.post(path, json=body).content, name)))
    for most, expected in ((size, 200), (size - 1, 422)):
        with client_of({"good": calibrated_run}, limits=Limits(answer_bytes=most)) as bounded:
            answer = bounded.post(path, json=body)
            assert answer.status_code == expected
    assert answer.json()["error"]["code"] == "answer_too_large"
    assert f"over the limit of {size - 1:,} bytes (answer_bytes)" in answer.text


def test_an_answer_of_long_texts_is_refused_before_it_is_written(tiny_run_copy, monkeypatch):
    xmc.add_labels(tiny_run_copy, {f"long {row}": f"purple banana {row} " + "x" * 100_000 for row in range(3)})
    written = []
    monkeypatch.setattr("xmc.serve.json_answers.to_json", lambda body: written.append(to_json(body)) or written[-1])
    with client_of({"long": tiny_run_copy}, limits=Limits(answer_bytes=250_000)) as client:
        assert status(client, {"texts": ["purple banana"], "k": 2}) == 200
        assert max(map(len, written)) > 200_000
        written.clear()
        assert status(client, {"texts": ["purple banana"], "k": 3}) == 422
        assert max(map(len, written)) < 1_000


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/search", 503, b'"code":"overloaded","message":"the service is stopping."'),
        ("/v1/labels", 504, b'"code":"timed_out","message":"the service is stopping. The change may have been made'),
    ],
)
def test_what_is_dropped_when_the_service_stops_is_told_in_the_form_of_every_error(path, status, said):
    sent, counted = [], []

    async def never(scope, receive, send):
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    async def drop():
        access = Access(admin_token=ADMIN)
        guard = Guard(never, access=access, request_s=60, count=lambda *told: counted.append(told))
        headers = [(b"authorization", f"Bearer {ADMIN}".encode())]
        task = asyncio.create_task(guard({"type": "http", "path": path, "headers": headers}, None, send))
        await asyncio.sleep(0.05)
        task.cancel("timeout graceful shutdown exceeded")  # as uvicorn does
        await task

    asyncio.run(drop())
    assert sent[0]["status"] == status and said in sent[1]["body"]
    assert [told for _, told, _ in counted] == [status]


def test_a_change_that_takes_too_long_may_have_been_made(tiny_run, monkeypatch):
    monkeypatch.setattr(LabelEditor, "put", lambda editor, labels: time.sleep(1))
    monkeypatch.setattr(Batcher, "ask", lambda batcher, ask: asyncio.sleep(1))
    with client_of({"plain": tiny_run}, limits=Limits(request_s=0.1)) as hasty:
        body = {"action": "put", "labels": {"a": "b"}}
        answer = hasty.post("/v1/labels", json=body, headers=AS_ADMIN)
        assert answer.status_code == 504 and "may have been made" in answer.text
        assert "retry-after" not in answer.headers
        answer = hasty.post("/v1/search", json={"texts": ["a"]})
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("letter", ["a", "é"])
def test_length_of_a_text(small, letter):
    fits = letter * (100 // len(letter.encode()))
    assert status(small, {"texts": [fits]}) == 200
    assert status(small, {"texts": [fits + "a"]}) == 422


def test_allowed_labels(small, offline):
    assert status(small, {"texts": ["a"], "allowed": offline.labels.ids[:3]}) == 200
    assert status(small, {"texts": ["a"], "allowed": offline.labels.ids[:4]}) == 422
    for count, expected in ((3, 200), (4, 422)):
        filters = {"type": "in", "key": "id", "value": offline.labels.ids[:count]}
        assert status(small, {"query": "a", "filters": filters}, "/v1/vector_stores/good/search") == expected


@pytest.mark.parametrize("announced", [True, False])
def test_bytes_of_a_body(small, announced):
    empty = b'{"texts":["a"]}'
    for size, expected in ((SMALL.body_bytes, 200), (SMALL.body_bytes + 1, 413)):
        content = empty + b" " * (size - len(empty))
        sent = content if announced else iter([content[:1000], content[1000:]])
        answer = small.post("/v1/search", content=sent, headers={"content-type": "application/json"})
        assert answer.status_code == expected
    assert answer.headers["connection"] == "close"


def test_nesting_of_filters(small):
    deepest = {"type": "eq", "key": "id", "value": "a"}
    for depth in range(1, 4):
        deepest = {"type": "and", "filters": [deepest]}
        found = status(small, {"query": "a", "filters": deepest}, "/v1/vector_stores/good/search")
        assert found == (200 if depth <= 2 else 422)


def test_parts_of_a_second_are_not_rounded(monkeypatch):
    given = {}
    monkeypatch.setattr("xmc.serve.server._Server.run", lambda server, sockets: given.update(vars(server.config)))
    with bind("127.0.0.1", 0) as listening:
        run_server(None, listening, limits=Limits(keep_alive_s=0.25, drain_s=1.5))
    assert (given["timeout_keep_alive"], given["timeout_graceful_shutdown"]) == (0.25, 1.5)


def test_limits_from_the_command_line():
    assert read_limits(["k=50", "body_s=2.5"]) == Limits(k=50, body_s=2.5)
    for word, said in [
        ("kk=5", "NAME=VALUE"),
        ("k", "NAME=VALUE"),
        ("k=a", "number"),
        ("k=0", "above 0"),
        ("keep_alive_s=inf", "above 0 and finite, got inf"),
        ("request_s=nan", "above 0 and finite, got nan"),
        ("k=10001", "10,000"),
    ]:
        with pytest.raises(ConfigError, match=said):
            read_limits([word])
    assert {field.type for field in fields(Limits)} == {"int", "float"}
