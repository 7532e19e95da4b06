"""`xmc.Client`: what `Retriever` answers, over HTTP."""

import re
import socket
import threading
import time

import numpy as np
import pytest
import torch
from serve_cases import ADMIN, AS_ADMIN, BASE, client_of, served

import xmc
from xmc.errors import ArtifactError, ConfigError, DataError, NonFiniteError, ServiceError, XmcWarning
from xmc.serve.limits import Limits

TEXTS = ["red apple", "green pear", "old house"]


@pytest.fixture
def client(live):
    with xmc.Client(live.address) as opened:
        yield opened


def test_the_same_answers_of_the_same_types(client, offline):
    allowed = offline.labels.ids[:7]
    for options in ({}, {"k": 3}, {"min_probability": 0.4}, {"allowed": allowed}):
        assert client.search(TEXTS, **options) == offline.search(TEXTS, **options)
    assert client.search_sets(TEXTS, alpha=0.3) == offline.search_sets(TEXTS, alpha=0.3)
    assert client.search_vectors(offline.encode(TEXTS), k=4) == offline.search(TEXTS, k=4)
    assert client.encode(TEXTS).equal(offline.encode(TEXTS))
    for aim in ({"precision": 0.9}, {"recall": 0.5}, {"false_positive_rate": 0.1}):
        assert client.threshold(**aim) == offline.threshold(**aim)
    assert client.generation == offline.generation
    assert client.search([]) == []


def test_a_query_that_matches_nothing_is_told_as_by_the_library(client, offline):
    with pytest.warns(XmcWarning, match="best score is exactly 0") as said:
        found = client.search(["red apple", "$"], k=2)
    assert said[0].filename == __file__ and len(said) == 1
    with pytest.warns(XmcWarning, match="exactly 0"):
        assert found == offline.search(["red apple", "$"], k=2)
    with pytest.warns(XmcWarning, match="exactly 0"):
        client.search_vectors(torch.zeros(1, offline.encoder.dimension))


def test_more_queries_than_the_service_takes_at_once(client, offline):
    many = [f"{text} {number}" for number in range(60) for text in TEXTS]
    assert client.search(many, k=2) == offline.search(many, k=2)
    assert client.encode(many).shape == (180, offline.encoder.dimension)


def test_more_bytes_and_hits_than_the_service_takes_at_once(offline, calibrated_run):
    long = [f"{text} {number} " + "and more of it " * 60 for number in range(4) for text in TEXTS]
    limits = "--limit", "hits=10", "--limit", "body_bytes=4096"
    with served("--run", calibrated_run, *limits) as process, xmc.Client(process.address) as client:
        assert client.search(long, k=1) == offline.search(long, k=1)
        assert client.search(TEXTS * 9, k=4) == offline.search(TEXTS * 9, k=4)
        assert client.search_vectors(offline.encode(long), k=1) == offline.search(long, k=1)
        with pytest.raises(DataError, match="hits"):
            client.search(TEXTS, k=11)
        with pytest.raises(DataError, match=r"more than 4,096 bytes.*body_bytes"):
            client.search(["a" * 4096], k=1)


def test_more_bytes_than_the_service_answers_at_once(offline, calibrated_run):
    with (
        served("--run", calibrated_run, "--limit", "answer_bytes=4000") as process,
        xmc.Client(process.address) as client,
    ):
        assert client.search(TEXTS * 5, k=8) == offline.search(TEXTS * 5, k=8)
        assert client.encode(TEXTS * 5).equal(offline.encode(TEXTS * 5))
        with pytest.raises(DataError, match="answer_bytes"):
            client.search(TEXTS, k=60)


def test_more_label_sets_than_the_service_takes_at_once(offline, calibrated_run):
    largest = offline.fitted.label_sets.most_labels
    limits = "--limit", f"hits={2 * largest}"
    with served("--run", calibrated_run, *limits) as process, xmc.Client(process.address) as client:
        assert client.describe()["largest_set"] == largest
        assert client.search_sets(TEXTS * 2, alpha=0.3) == offline.search_sets(TEXTS * 2, alpha=0.3)


def test_what_is_one_text_is_not_taken_for_many(client):
    for call in (client.search, client.search_sets, client.encode):
        with pytest.raises(DataError, match="list of strings, got one string"):
            call("tender")
    with pytest.raises(DataError, match=r"allowed=\[label_id\]"):
        client.search(TEXTS, allowed="L21")
    with pytest.raises(DataError, match=r"label_ids=\[label_id\]"):
        client.remove_labels("12")  # not the labels 1 and 2
    with pytest.raises(DataError, match="labels must be a mapping of label ids to texts, got list"):
        client.add_labels(["ab", "cd"])  # not the texts b and d


def test_what_is_no_list_or_number_is_an_error_of_xmc_as_of_the_library(client, offline):
    for searcher in (client, offline):
        for texts in (None, 5, (text for text in TEXTS)):
            for call in (searcher.search, searcher.search_sets, searcher.encode):
                with pytest.raises(DataError, match="texts must be a list of strings, got"):
                    call(texts)
        with pytest.raises(DataError, match="allowed must be a collection of label ids, got int"):
            searcher.search(TEXTS, allowed=5)
        for k in ("5", None):
            with pytest.raises((DataError, ConfigError), match="k must be a whole number, got"):
                searcher.search(TEXTS, k=k)


def test_what_json_does_not_hold(client, offline):
    with pytest.raises(NonFiniteError, match="row 0"):
        client.search_vectors(torch.full((1, offline.encoder.dimension), float("nan")))
    with pytest.raises(DataError, match="cannot be sent"):
        client.search(["\ud800"])
    with pytest.raises(DataError, match="cannot be sent: set is no value of JSON"):
        client.search([{"a"}])
    with pytest.raises(DataError, match="cannot be sent"):
        client.search(TEXTS, min_probability=torch.ones(2))
    assert client.search(TEXTS, k=np.int64(3), min_probability=np.float32(0.25)) == offline.search(
        TEXTS, k=3, min_probability=0.25
    )
    assert client.encode([]).shape == (0, offline.encoder.dimension)


def test_errors_are_those_of_the_library(client):
    with pytest.raises(DataError, match="empty"):
        client.search([" "])
    with pytest.raises(DataError, match=r"Write \[text\]"):
        client.search("a text")
    for aim in ({}, {"precision": 0.5, "recall": 0.5}, {"recall": 2.0}):
        with pytest.raises(DataError, match=r"exactly one of|less than or equal to 1"):
            client.threshold(**aim)
    with pytest.raises(DataError, match="not there"):
        client.search(["a"], allowed=["nobody"])
    with pytest.raises(ServiceError, match=r"token does not|token is needed") as refused:
        client.add_labels({"a": "b"})
    assert refused.value.status in (401, 403)


def test_what_is_no_filter(client):
    for search, queries in ((client.search, TEXTS), (client.search_passages, TEXTS), (client.search_sets, TEXTS)):
        for given in (lambda passage: True, "page", [("page", 1)]):
            with pytest.raises(DataError, match="filter must be a dictionary of keys and values, got"):
                search(queries, filter=given)
    for filter, said in (({"page": {1}}, "cannot be sent: set"), ({"page": {"$like": 1}}, "no operator '\\$like'")):
        with pytest.raises(DataError, match=said):
            client.search(TEXTS, filter=filter)


def test_a_run_that_is_not_prepared(tiny_run):
    with served("--run", f"plain={tiny_run}") as process, xmc.Client(process.address, run="plain") as client:
        with pytest.raises(ArtifactError, match="xmc check calibrate"):
            client.search(["a"], min_probability=0.5)
        with pytest.raises(ArtifactError, match="this run gives none"):
            client.threshold(recall=0.5)
        with xmc.Client(process.address, run="other") as other:
            with pytest.raises(ServiceError, match="no such run"):
                other.search(["a"])
            with pytest.raises(ServiceError, match="it has: plain"):
                other.describe()


def test_labels_are_edited(tiny_run_copy):
    env = {"XMC_ADMIN_TOKEN": ADMIN}
    with served("--run", tiny_run_copy, env=env) as process, xmc.Client(process.address, token=ADMIN) as client:
        before = client.generation
        assert [line.split(" ", 1)[1] for line in process.logged] == [f"INFO run run: generation {before}, 60 labels\n"]
        assert client.add_labels({"new": "purple banana"}).added == 1
        assert client.search(["purple banana"], k=1)[0][0].label_id == "new" and client.generation != before
        client.replace_labels({"new": "grey stone"})
        assert [client.put_labels({"new": "grey stone", "newer": "mango"}).changed for _ in range(2)] == [1, 0]
        client.remove_labels(["newer"])
        assert client.remove_labels(["new"]).added == 0
        process.terminate()
        *logged, last = process.stderr.read().splitlines()
    assert last == "stopped" and all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z INFO run run: ", line) for line in logged)
    assert "add by a request, 1 label changed" in logged[0] and re.search(r"generation \S+, 61 labels$", logged[1])
    assert sum("put by a request" in line for line in logged) == 2


def test_labels_with_metadata_are_found_by_them(tiny_run_copy):
    page = {"page": 3, "tags": ["é", None], "seen": {"by": 0.1}}
    with client_of({"run": tiny_run_copy}) as app, xmc.Client(BASE) as client:
        client._service.http = app
        app.headers.update(AS_ADMIN)
        client.add_labels({"new": "purple banana", "newer": "purple mango"}, metadata={"new": page})
        (found,) = client.search_passages(["purple"], k=2, allowed=["new", "newer"])
        assert {passage.id: passage.metadata for passage in found} == {"new": page, "newer": {}}
        for search, queries in ((client.search, ["purple"]), (client.search_vectors, client.encode(["purple"]))):
            assert [hit.label_id for hit in search(queries, filter={"page": {"$gte": 3}})[0]] == ["new"]
        assert client.put_labels({"new": "purple banana"}).changed == 0
        assert len(client.search(["purple"], filter={"page": 3})[0]) == 1
        report = client.put_labels({"new": "purple banana"}, metadata={"new": {"page": 4}})
        assert (report.changed, report.changed_metadata) == (0, 1)
        assert client.search(["purple"], filter={"page": 3}) == [[]]
        client.replace_labels({"new": "purple plum"}, metadata={})
        assert client.search(["purple"], filter={"page": {"$gt": 0}}) == [[]]
        for call in (client.add_labels, client.put_labels, client.replace_labels):
            with pytest.raises(DataError, match="metadata must be a mapping of label ids to dictionaries, got list"):
                call({"new": "purple banana"}, metadata=[page])
            for kept in ({"a": (1, 2)}, {1: "a"}, {"a": float("nan")}, {"a": {1}}):
                with pytest.raises(DataError, match="the metadata of 'new' cannot be kept"):
                    call({"new": "purple banana"}, metadata={"new": kept})
            with pytest.raises(DataError, match="metadata must be of labels that are given"):
                call({"new": "purple banana"}, metadata={"other": page})


def test_nobody_there():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with xmc.Client(address, retries=1) as client, pytest.raises(ServiceError, match="in 2 tries") as error:
        client.search(["a"])
    assert "xmc serve" in str(error.value)
    with pytest.raises(ConfigError, match="http://"):
        xmc.Client("127.0.0.1:8000")
    for wrong in ("http://[::1", "http://here:port"):
        with pytest.raises(ConfigError, match="is no address of a service"):
            xmc.Client(wrong)
    with pytest.raises(ConfigError, match="retries must be at least 0, got -1"):
        xmc.Client(address, retries=-1)


def answer_in_turn(answers):
    """A server that gives these raw answers to one connection each, an empty one by closing it; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked = []

    def work():
        for answer in answers:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(65_536))
                connection.sendall(answer)
        listening.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", asked


def raw(status, body, *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", body]).encode()


BUSY = raw("503 Busy", "{}", "Retry-After: 1")
GOOD = raw("200 OK", '{"results":[{"hits":[]}]}')


@pytest.mark.parametrize(("beside", "requests"), [(10, 1), (300, 2)])
def test_as_many_queries_a_request_as_fit_beside_what_is_asked_of_them(beside, requests):
    limits = raw("200 OK", '{"runs": [], "limits": {"queries": 64, "hits": 640, "body_bytes": 900}}')
    found = ['{"results":[{"hits":[]},{"hits":[]}]}'] if requests == 1 else ['{"results":[{"hits":[]}]}'] * 2
    address, asked = answer_in_turn([limits, *(raw("200 OK", body) for body in found)])
    with xmc.Client(address) as client:
        assert client.search(["a" * 200, "b" * 200], allowed=["c" * beside]) == [[], []]
    assert len(asked) == 1 + requests


def test_a_token_is_sent_in_the_form_that_the_service_reads():
    address, asked = answer_in_turn([GOOD])
    with xmc.Client(address, token="schlüssel-für-leser") as client:
        assert client.search(["a"]) == [[]]
    assert "authorization: Bearer schlüssel-für-leser\r\n".encode() in asked[0]


def test_a_token_as_its_file_holds_it_and_one_that_no_header_can():
    address, asked = answer_in_turn([GOOD])
    with xmc.Client(address, token="a-token-for-readers\n") as client:
        assert client.search(["a"]) == [[]]
    assert b"authorization: Bearer a-token-for-readers\r\n" in asked[0]
    with pytest.raises(ConfigError, match="control character") as error:
        xmc.Client(address, token="secret\nX-Other: 1")
    assert "secret" not in str(error.value)


def test_a_busy_service_is_asked_again_after_the_time_it_names():
    address, asked = answer_in_turn([BUSY, b"", GOOD])
    started = time.monotonic()
    with xmc.Client(address) as client:
        assert client.search(["a"]) == [[]]
    assert len(asked) == 3 and time.monotonic() - started >= 1


def test_a_service_that_was_started_again_with_smaller_limits(live, offline, calibrated_run):
    with client_of({"good": calibrated_run}, limits=Limits(queries=2)) as small, xmc.Client(live.address) as client:
        assert client.search(TEXTS, k=2) == offline.search(TEXTS, k=2)  # and remembers its limits
        client._service.http = small
        assert client.search(TEXTS, k=2) == offline.search(TEXTS, k=2)
        client._parts._limits = client._parts._limits | {"queries": 64}
        assert client.encode(TEXTS).equal(offline.encode(TEXTS))
        with pytest.raises(DataError, match="text 1 is an empty text"):
            client.search(["a", " "])


def test_a_change_that_may_have_been_made_is_not_sent_again():
    address, asked = answer_in_turn([BUSY, b"", GOOD])
    with xmc.Client(address) as client, pytest.raises(ServiceError, match="did not answer"):
        client.add_labels({"a": "b"})
    assert len(asked) == 2


def test_a_proxy_that_finds_no_service_is_asked_again_but_not_for_a_change():
    answers = [raw("429 Too Many", ""), raw("502 Bad", "<html")]
    address, asked = answer_in_turn([*answers, GOOD])
    with xmc.Client(address) as client:
        assert client.search(["a"]) == [[]]
    assert len(asked) == 3
    address, asked = answer_in_turn([*answers, GOOD])
    with xmc.Client(address) as client, pytest.raises(ServiceError, match="answered 502 without JSON"):
        client.add_labels({"a": "b"})
    assert len(asked) == 2


@pytest.mark.parametrize("body", ['"no"', '{"error": "Bad Gateway"}', '{"detail": "Not Found"}'])
def test_an_error_in_the_form_of_another_server(body):
    address, _ = answer_in_turn([raw("404 Not Found", body)])
    with xmc.Client(address) as client, pytest.raises(ServiceError, match=r"^the service answered 404\.$") as error:
        client.search(["a"])
    assert error.value.status == 404


@pytest.mark.parametrize("body", ["[1]", '{"detail": "hello"}'])
def test_an_answer_of_another_server(body):
    address, _ = answer_in_turn([raw("200 OK", body)])
    with xmc.Client(address) as client, pytest.raises(ServiceError, match="is no answer of `xmc serve`"):
        client.search(["a"])
