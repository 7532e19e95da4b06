"""What comes over the wire when it is not a good client: garbage, half requests, huge heads, too many at once."""

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import httpx
import pytest
from serve_cases import served

SEARCH = b'{"texts":["red apple"],"k":3}'
HEAD = b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(SEARCH), SEARCH)


def connect(live):
    host, port = live.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def answer_to(live, *parts, pause=0.0):
    """What comes back until the connection is closed, and the seconds until then."""
    started = time.monotonic()
    found = b""
    with connect(live) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while chunk := connection.recv(65_536):
                found += chunk
        except OSError:
            pass
    return found, time.monotonic() - started


def still_answers(live_client):
    return live_client.post("/v1/search", json={"texts": ["red apple"]}).status_code == 200


def answers_at_once(live, requests, **options):
    """`answer_to` each list of parts, by name; they are sent side by side, since each of them waits."""
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = pool.map(lambda parts: answer_to(live, *parts, **options), requests.values())
        return dict(zip(requests, answers, strict=True))


def test_half_a_request_is_closed_in_time(live, live_client):
    halves = {
        "nothing": b"",
        "part of a line": b"POST /v1/se",
        "part of a head": HEAD,
        "part of a header": HEAD + b"X-Long: ",
        "all but a byte": WHOLE[:-1],
        "no body": HEAD + b"Content-Length: 10\r\n\r\n",
    }
    answers = answers_at_once(live, {name: [half] for name, half in halves.items()})
    assert [name for name, (_, seconds) in answers.items() if not 0.5 < seconds < 4] == []
    assert still_answers(live_client)


def test_a_connection_does_not_stay_open_by_crumbs_after_an_answer(live):
    answers = answers_at_once(live, {after: [WHOLE, after] for after in (b"\r\n", b"P", b"GET / HT")}, pause=0.3)
    for after, (found, seconds) in answers.items():
        assert found.startswith(b"HTTP/1.1 200") and seconds < 4, after


def test_a_body_by_crumbs_is_given_up(live):
    crumbs = [HEAD + b"Content-Length: 1000\r\n\r\n", *[b" "] * 6]
    found, seconds = answer_to(live, *crumbs, pause=0.12)
    assert found.startswith(b"HTTP/1.1 408") and seconds < 5


def test_many_half_requests_hinder_nobody(live, live_client):
    halves = [b"POST /v1/se", HEAD, HEAD + b"Content-Length: 10\r\n\r\n{"]
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(live)) for _ in range(300)]
        for number, connection in enumerate(connections):
            connection.sendall(halves[number % 3])
        assert still_answers(live_client)
        deadline = time.monotonic() + 10
        for connection in connections:
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            while connection.recv(65_536):
                pass
        assert time.monotonic() < deadline
    assert still_answers(live_client)


def test_more_connections_than_allowed_are_closed(live, live_client):
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(live)) for _ in range(420)]
        connections[-1].settimeout(0.9)
        with pytest.raises(ConnectionError):
            connections[-1].recv(1)
            connections[-1].sendall(b"x")
            connections[-1].recv(1)
            raise ConnectionError
    time.sleep(0.2)
    assert still_answers(live_client)


@pytest.mark.parametrize(("size", "passes"), [(15_000, True), (16_384, False), (200_000, False)])
@pytest.mark.parametrize("kind", ["header", "headers", "target"])
def test_the_size_of_a_head(live, size, passes, kind):
    if kind == "target":
        request = b"GET /healthz?" + b"a" * size + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    else:
        count = 1 if kind == "header" else 40
        line = b"X-Long: " + b"a" * (size // count) + b"\r\n"
        request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + line * count + b"\r\n"
    found, _ = answer_to(live, request)
    assert found.startswith(b"HTTP/1.1 200") if passes else not found.startswith(b"HTTP/1.1 2")


def test_requests_one_after_the_other_in_one_packet(live):
    found, _ = answer_to(live, WHOLE * 5 + WHOLE.replace(b"Host", b"Connection: close\r\nHost"))
    assert found.count(b"HTTP/1.1 200") == 6


def mutants(count, seed):
    chance = random.Random(seed)
    for _ in range(count):
        request = bytearray(WHOLE)
        for _ in range(chance.randint(0, 8)):
            place = chance.randrange(len(request))
            match chance.randrange(4):
                case 0:
                    request[place] = chance.randrange(256)
                case 1:
                    del request[place : place + chance.randint(1, 20)]
                case 2:
                    request[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 20)))
                case 3:
                    request[place:place] = request[place : place + 30]
        yield bytes(request)


def status_of(live, request):
    """The status that a request gets; 0 where the connection is closed without a word."""
    with connect(live) as connection:
        connection.sendall(request)
        try:
            first = connection.recv(64)
        except ConnectionError:
            return 0
        return int(first.split()[1]) if first else 0


def test_garbage_is_never_an_error_of_the_server(live, live_client):
    with ThreadPoolExecutor(32) as pool:
        statuses = set(pool.map(partial(status_of, live), mutants(400, seed=7)))
    assert {200, 400, 422} <= statuses and max(statuses) < 500
    assert still_answers(live_client)
    page = live_client.get("/metrics").text
    assert not [line for line in page.splitlines() if line.startswith("xmc_requests_total") and 'status="5' in line]


def test_a_client_that_goes_away_hinders_nobody(live, live_client):
    for _ in range(50):
        with connect(live) as connection:
            connection.sendall(WHOLE)
    assert still_answers(live_client)


def test_overload_is_503_with_retry_after(calibrated_run):
    with served("--run", calibrated_run, "--limit", "waiting=2", "--batch-queries", "1") as process:
        body = {"texts": [f"red apple {number}" for number in range(64)], "k": 60}

        def ask(_):
            return httpx.post(f"{process.address}/v1/search", json=body, timeout=30)

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(48)))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 503}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 503)
