"""The command: what it says, what it refuses, how it stops."""

import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from serve_cases import AS_ADMIN, served, with_endless_searches
from typer.testing import CliRunner

import xmc
from xmc.cli.main import app
from xmc.cli.serve import _end
from xmc.errors import ConfigError
from xmc.serve.limits import Limits
from xmc.serve.service import Service


def run_cli(*arguments, env=None):
    return CliRunner().invoke(app, ["serve", *map(str, arguments)], env=env)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_ends_what_is_under_way_and_exits_with_0(tiny_run, number):
    with served("--run", tiny_run) as process:
        body = {"texts": [f"red apple {number}" for number in range(64)], "k": 60}
        statuses = []
        threads = [
            threading.Thread(
                target=lambda: statuses.append(httpx.post(f"{process.address}/v1/search", json=body).status_code)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while not statuses:
            pass
        process.send_signal(number)
        for thread in threads:
            thread.join()
        assert process.wait(15) == 0
        assert process.stderr.read().strip() == "stopped"
    assert set(statuses) == {200}


def test_a_terminal_that_is_gone_hears_of_no_stop(monkeypatch):
    service = Service({}, limits=Limits(), observe=print)
    service.close()
    gone = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - that it cannot be closed is asserted
    monkeypatch.setattr("sys.stderr", gone)
    _end(service)
    with pytest.raises(OSError, match="No space"):
        gone.close()


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT] * 2])
def test_a_search_that_does_not_end_keeps_no_service_that_is_told_to_stop(tiny_run, numbers):
    said = {}

    def ask(name, **options):
        try:
            answer = httpx.post(f"{process.address}/v1/search", json={"texts": ["red apple", "a tram"]}, **options)
            said[name] = (answer.status_code, answer.json()["error"]["message"])
        except httpx.ReadTimeout:
            said[name] = "gone"

    with served("--run", tiny_run, "--limit", "drain_s=1", target=with_endless_searches) as process:
        threads = [
            threading.Thread(target=ask, args=("waits",), kwargs={"timeout": 30}),
            threading.Thread(target=ask, args=("goes",), kwargs={"timeout": 0.3}),
        ]
        for thread in threads:
            thread.start()
        threads[1].join()
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.3)
        assert process.wait(15) == 0
        threads[0].join()
        dropped, last = [line for line in process.stderr.read().splitlines() if "Cancel" not in line]
    assert said == {"waits": (503, "the service is stopping."), "goes": "gone"}
    assert "a search or reload still ran 1 s after the last answer: it is dropped" in dropped and last == "stopped"


def test_a_killed_service_starts_again_with_all_that_was_committed(tiny_run_copy):
    admin = {"XMC_ADMIN_TOKEN": AS_ADMIN["authorization"].removeprefix("Bearer ")}
    with served("--run", tiny_run_copy, env=admin) as process:
        change = {"action": "add", "labels": {"new": "purple banana"}}
        assert httpx.post(f"{process.address}/v1/labels", json=change, headers=AS_ADMIN).status_code == 200
        process.send_signal(signal.SIGKILL)
        process.wait()
    with served("--run", tiny_run_copy) as process:
        answer = httpx.post(f"{process.address}/v1/search", json={"texts": ["purple banana"], "k": 1}).json()
    assert answer["results"][0]["hits"][0]["label_id"] == "new"
    assert answer["generation"] == xmc.Retriever.load(tiny_run_copy).generation


def refused(*arguments, env=None):
    result = run_cli(*arguments, env={"XMC_TOKEN": None, "XMC_ADMIN_TOKEN": None, **(env or {})})
    assert result.exit_code == 1 and isinstance(result.exception, xmc.XmcError), result.output
    return str(result.exception)


def test_it_is_not_opened_to_others_without_a_token(tiny_run):
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        said = refused("--run", tiny_run, "--host", host, "--allow-host", "a.name")
        assert "no token is set" in said and "--token-file" in said


def test_wrong_arguments_are_explained(tiny_run, tmp_path):
    assert "xmc train" in refused("--run", tmp_path / "nowhere", "--port", 0)
    assert "NAME=FOLDER" in refused("--run", f"a b={tiny_run}", "--port", 0)
    assert "two runs" in refused("--run", tiny_run, "--run", tiny_run, "--port", 0)
    assert "NAME=VALUE" in refused("--run", tiny_run, "--limit", "kk=3")
    (tmp_path / "empty").write_text("")
    assert "empty" in refused("--run", tiny_run, "--token-file", tmp_path / "empty")
    (tmp_path / "bytes").write_bytes(b"\xff" * 20)
    assert "no text in UTF-8" in refused("--run", tiny_run, "--token-file", tmp_path / "bytes")
    assert "at least 16" in refused("--run", tiny_run, env={"XMC_TOKEN": "short"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port}" in refused("--run", tiny_run, "--port", port)


def test_a_missing_library_is_named(tiny_run, monkeypatch):
    monkeypatch.setattr("xmc.cli.serve.LIBRARIES", ("fastapi", "no_such_library"))
    assert "no_such_library" in refused("--run", tiny_run) and "xmc-engine[serve]" in refused("--run", tiny_run)


def test_tokens_from_files_and_two_runs_by_name(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "b")
    token = tmp_path / "token"
    token.write_text("a-token-from-a-file-1\n")
    with served("--run", f"one={tiny_run}", "--run", tmp_path / "b", "--token-file", token) as process:
        assert httpx.get(f"{process.address}/v1/runs").status_code == 401
        headers = {"authorization": "Bearer a-token-from-a-file-1"}
        runs = httpx.get(f"{process.address}/v1/runs", headers=headers).json()["runs"]
        assert [run["name"] for run in runs] == ["one", "b"]


def test_the_second_of_two_services_that_start_together_on_a_port_says_so():
    from xmc.serve.server import bind, run_server

    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:  # while the first one opens its runs
            first.listen()
            with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
                run_server(FastAPI(), second, limits=Limits())


def test_answers_do_not_wait_for_an_acknowledgement():
    from xmc.serve.server import bind

    with bind("127.0.0.1", 0) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.proto == socket.IPPROTO_TCP  # what asyncio asks before it sets TCP_NODELAY
