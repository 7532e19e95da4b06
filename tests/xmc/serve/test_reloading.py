"""New states of a run: searched once they are committed, never half of one; where one is bad, the old one goes on."""

import importlib
import logging
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serve_cases import AS_ADMIN, client_of

import xmc
from xmc.engine.label_editing import LabelEditor
from xmc.errors import DataError
from xmc.integrations.run_passages import RunPassages
from xmc.retrieve.layout import passages_store
from xmc.retrieve.passages_now import PassagesNow
from xmc.serve.batcher import Batcher
from xmc.serve.limits import Limits
from xmc.store.lock import locked

ASKED = {"texts": ["purple banana"], "k": 3}


@pytest.fixture
def run(calibrated_run, tmp_path):
    shutil.copytree(calibrated_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def log():
    """What is logged, as it comes."""
    records, handler = [], logging.Handler()
    handler.emit = records.append
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def info():
    """The service logs more than warnings."""
    logger = logging.getLogger("xmc.serve")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


def change(client, action, **what):
    return client.post("/v1/labels", json={"action": action, **what}, headers=AS_ADMIN)


def first(client):
    return client.post("/v1/search", json=ASKED).json()["results"][0]["hits"][0]


def test_labels_are_changed_and_found_at_once(run):
    with client_of({"run": run}) as client:
        before = client.get("/v1/runs").json()["runs"][0]
        added = change(client, "add", labels={"new": "purple banana"}).json()
        assert (added["labels"], added["added"], added["notes"]) == (before["labels"] + 1, 1, [])
        assert added["generation"] != before["generation"]
        assert first(client)["label_id"] == "new"
        assert change(client, "replace", labels={"new": "grey stone"}).status_code == 200
        assert first(client)["text"] != "purple banana"
        unread = change(client, "put", labels={"new": "$"}).json()["notes"]
        assert "the encoder knows no word of the text of 1" in unread[0]
        assert change(client, "remove", ids=["new"]).json()["labels"] == before["labels"]
        assert xmc.Retriever.load(run, warn=False).generation == client.get("/v1/runs").json()["runs"][0]["generation"]


def test_metadata_are_written_and_go_with_their_labels(tiny_run_copy):
    def kept():
        return {passage.id: passage.metadata for passage in RunPassages(tiny_run_copy).get(["a", "b", "c"])}

    with client_of({"run": tiny_run_copy}) as client:
        assert change(client, "add", labels={"a": "purple banana"}).status_code == 200
        assert not passages_store(tiny_run_copy).exists()
        added = change(client, "add", labels={"b": "a lantern", "c": "an oar"}, metadata={"b": {"page": 1}})
        assert added.json()["added"] == 3 and kept() == {"a": {}, "b": {"page": 1}, "c": {}}
        refused = [
            change(client, "add", labels={"b": "a lantern", "d": "an ark"}, metadata={"b": {"page": 2}}),
            change(client, "replace", labels={"b": "an ark", "d": "an ark"}, metadata={"b": {"page": 2}}),
            change(client, "put", labels={"b": " "}, metadata={"b": {"page": 2}}),
        ]
        assert [answer.status_code for answer in refused] == [422] * 3
        assert [answer.json()["error"]["message"].split(":")[0] for answer in refused[:2]] == [
            "1 label is there already", "1 label is not there",
        ]  # fmt: skip
        assert kept() == {"a": {}, "b": {"page": 1}, "c": {}}
        with locked(passages_store(tiny_run_copy).root / "changing"):
            for answer in (
                change(client, "put", labels={"b": "an ark"}, metadata={"b": {}}), change(client, "remove", ids=["b"])
            ):  # fmt: skip
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "locked")
        assert change(client, "replace", labels={"b": "an ark"}, metadata={"b": {"page": 2}}).status_code == 200
        assert change(client, "put", labels={"b": "an old ark"}).status_code == 200
        assert kept()["b"] == {"page": 2}
        assert change(client, "remove", ids=["b", "c"]).status_code == 200
        assert change(client, "add", labels={"b": "another"}).status_code == 200
        assert kept() == {"a": {}, "b": {}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"action": "add", "labels": {"new": "a"}, "metadata": {"old": {}}}, "metadata must be of labels that are"),
        ({"action": "remove", "ids": ["new"], "metadata": {}}, "metadata must be of labels that are given here"),
        ({"action": "put", "labels": {"new": "a"}, "metadata": {"new": []}}, "metadata.new: Input should be an object"),
        (
            {"action": "put", "labels": {"a": "a"}, "metadata": {"a": {"b": "c" * 32_768}}},
            "the metadata of label 'a'",
        ),
        ({"action": "add", "labels": {"L1": "a text"}}, "there already"),
        ({"action": "replace", "labels": {"nobody": "a text"}}, "not there"),
        ({"action": "remove", "ids": ["nobody"]}, "not there"),
        ({"action": "add", "labels": {"new": " "}}, "empty"),
        ({"action": "add", "ids": ["a"]}, "take labels"),
        ({"action": "remove", "labels": {"a": "b"}}, "takes ids"),
        ({"action": "compact"}, "action"),
    ],
)
def test_changes_that_cannot_be(run, body, said):
    body = {**body, "labels": {xmc.Retriever.load(run).labels.ids[0]: "a text"}} if "L1" in str(body) else body
    with client_of({"run": run}) as client:
        answer = client.post("/v1/labels", json=body, headers=AS_ADMIN)
        assert answer.status_code == 422 and said in answer.json()["error"]["message"], answer.text
        assert str(run) not in answer.text


def test_a_run_that_another_process_edits_is_busy(run):
    from xmc.retrieve.layout import labels_store

    with client_of({"run": run}) as client, labels_store(run).new_version(facts={}) as folder:
        answer = change(client, "add", labels={"new": "purple banana"})
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "nothing").write_text("")


def test_a_damaged_new_state_leaves_the_old_one_serving(run, log):
    with client_of({"run": run}) as client:
        before = client.post("/v1/search", json=ASKED).json()
        xmc.add_labels(run, {"new": "purple banana"})
        newest = max((run / "labels").glob("v*"))
        file = next(path for path in newest.iterdir() if path.suffix == ".parquet")
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        answer = client.post("/v1/reload", json={}, headers=AS_ADMIN)
        (said,) = [record for record in log if "could not be opened" in record.getMessage()]  # once
        assert said.levelname == "WARNING" and file.name in str(said.exc_info[1])
        assert "ArtifactError" in answer.json()["reload_error"] and str(run) not in answer.text
        assert "ArtifactError" in client.get("/readyz").json()["runs"]["run"]["reload_error"]
        assert 'xmc_reload_failed{run="run"} 1.0' in client.get("/metrics").text
        after = client.post("/v1/search", json=ASKED).json()
        assert after["results"] == before["results"] and after["generation"] == before["generation"]


def test_metadata_come_with_the_hits_and_follow_the_run(tiny_run_copy):
    def kept(client, **more):
        return client.post("/v1/search", json={**ASKED, "metadata": True, **more}).json()["results"][0]["hits"]

    passages, page = RunPassages(tiny_run_copy), {"page": 3, "tags": ["é"]}
    passages.add({"new": "purple banana"}, {"new": page})
    with client_of({"run": tiny_run_copy}) as client:
        assert "metadata" not in first(client)
        hits = kept(client)
        assert hits[0]["label_id"] == "new"
        assert [hit.pop("metadata") for hit in hits] == [page, {}, {}]
        assert hits == client.post("/v1/search", json=ASKED).json()["results"][0]["hits"]
        vectors = {"texts": None, "vectors": xmc.Retriever.load(tiny_run_copy).encode(ASKED["texts"]).tolist()}
        assert kept(client, **vectors)[0]["metadata"] == page
        passages.add({"new": "purple purple banana"}, {"new": {"page": 4}})
        assert (first(client)["text"], kept(client)[0]["metadata"]) == ("purple banana", page)
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        assert (first(client)["text"], kept(client)[0]["metadata"]) == ("purple purple banana", {"page": 4})
        passages.add({"new": "purple purple banana"}, {"new": {"page": 5}})  # no other text, so no other generation
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        assert kept(client)[0]["metadata"] == {"page": 5}
        passages.remove(["new"])
        assert kept(client)[0]["metadata"] == {"page": 5}
        file = passages_store(tiny_run_copy).current().folder / "passages.parquet"
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        assert "ArtifactError" in client.get("/readyz").json()["runs"]["run"]["reload_error"]
        assert kept(client)[0]["metadata"] == {"page": 5}
    with client_of({"run": tiny_run_copy}) as client:
        assert client.post("/v1/search", json=ASKED).status_code == 200
        assert client.post("/v1/search", json={**ASKED, "metadata": True}).json()["error"]["code"] == "damaged"


def test_a_passage_that_is_removed_during_a_search_is_answered_with_its_metadata(tiny_run_copy, monkeypatch):
    passages = RunPassages(tiny_run_copy)
    passages.add({"new": "purple banana"}, {"new": {"page": 3}})
    with client_of({"run": tiny_run_copy}) as client:
        run_there, ask = client.app.state.service.run(None), Batcher.ask

        async def removed_meanwhile(batcher, asked):
            timed = await ask(batcher, asked)
            passages.remove(["new"])
            await client.app.state.service.reload(run_there)
            return timed

        monkeypatch.setattr(Batcher, "ask", removed_meanwhile)
        (result,) = client.post("/v1/search", json={**ASKED, "metadata": True}).json()["results"]
        assert (result["hits"][0]["label_id"], result["hits"][0]["metadata"]) == ("new", {"page": 3})
        assert run_there.retriever.search(ASKED["texts"], k=1)[0][0].label_id != "new"


def test_a_first_search_with_metadata_does_not_wait_for_a_change_of_labels(tiny_run_copy, monkeypatch):
    RunPassages(tiny_run_copy).add({"new": "purple banana"}, {"new": {"page": 3}})
    begun, answered, put = threading.Event(), threading.Event(), LabelEditor.put

    def slow(editor, labels):
        begun.set()
        assert answered.wait(5), "the search waited for the change"
        return put(editor, labels)

    monkeypatch.setattr(LabelEditor, "put", slow)
    with client_of({"run": tiny_run_copy}) as client, ThreadPoolExecutor() as threads:
        changed = threads.submit(change, client, "put", labels={"other": "grey stone"})
        assert begun.wait(20)
        answer = client.post("/v1/search", json={**ASKED, "metadata": True})
        answered.set()
        assert answer.json()["results"][0]["hits"][0]["metadata"] == {"page": 3}
        assert changed.result().status_code == 200


def test_long_metadata_count_as_part_of_the_answer(tiny_run_copy):
    RunPassages(tiny_run_copy).add({"new": "purple banana"}, {"new": {"page": "3" * 5000}})
    with client_of({"run": tiny_run_copy}, limits=Limits(answer_bytes=5000)) as client:
        assert client.post("/v1/search", json=ASKED).status_code == 200
        answer = client.post("/v1/search", json={**ASKED, "metadata": True})
        assert answer.status_code == 422 and answer.json()["error"]["code"] == "answer_too_large"


def test_every_answer_is_that_of_the_generation_it_names(run):
    """Queries in two threads while labels come and go: each answer equals the offline answer of its generation."""
    answers, expected, stop = [], {}, threading.Event()

    def remember():
        retriever = xmc.Retriever.load(run, warn=False)
        hits = [list(hit._asdict().values()) for hit in retriever.search(ASKED["texts"], k=ASKED["k"])[0]]
        expected[retriever.generation] = hits

    with client_of({"run": run}) as client:

        def ask():
            while not stop.is_set():
                answers.append(client.post("/v1/search", json=ASKED))

        remember()
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(10):
            change(client, "add", labels={f"new-{number}": f"purple banana {'really ' * number}"})
            remember()
        stop.set()
        for thread in threads:
            thread.join()
    assert {answer.status_code for answer in answers} == {200} and len(expected) == 11
    seen = set()
    for answer in (answer.json() for answer in answers):
        seen.add(answer["generation"])
        hits = [list(hit.values()) for hit in answer["results"][0]["hits"]]
        assert hits == expected[answer["generation"]]
    assert len(seen) > 3


@pytest.mark.parametrize("slow", ["edit", "reload"])
def test_what_took_too_long_to_wait_for_is_searched_all_the_same(run, slow, monkeypatch, log, info):
    """`reload_s` is 0 here: nobody else opens the new state."""
    kind, name = {"edit": (LabelEditor, "add"), "reload": (xmc.Retriever, "reload_if_changed")}[slow]
    call = getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda *given: time.sleep(0.6) or call(*given))
    with client_of({"run": run}, limits=Limits(request_s=0.3)) as client:
        if slow == "edit":
            answer = change(client, "add", labels={"new": "purple banana"})
        else:
            xmc.add_labels(run, {"new": "purple banana"})
            answer = client.post("/v1/reload", json={}, headers=AS_ADMIN)
        assert answer.status_code == 504
        deadline = time.monotonic() + 10
        while first(client)["label_id"] != "new":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    lines = [record.getMessage() for record in log]
    assert any("61 labels" in line for line in lines)
    assert any("add by a request, 1 label changed" in line for line in lines) == (slow == "edit")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("the label 'a\nb' is there already."), "the label 'a b' is there already."),
        (OSError(28, "full"), "full"),
    ],
)
def test_a_change_that_fails_when_nobody_waits_for_it_any_more_is_logged(tiny_run, error, said, monkeypatch, log):
    def fail(editor, labels):
        time.sleep(0.1)
        raise error

    monkeypatch.setattr(LabelEditor, "put", fail)
    with client_of({"good": tiny_run}, limits=Limits(request_s=0.05)) as client:
        assert change(client, "put", labels={"new": "purple banana"}).status_code == 504
        deadline = time.monotonic() + 10
        while not log and time.monotonic() < deadline:
            time.sleep(0.02)
    (told,) = log
    assert told.levelname == "WARNING" and told.getMessage().startswith("run good: put by a request failed: ")
    assert told.getMessage().endswith(said) and bool(told.exc_info) == isinstance(error, OSError)


def test_the_service_looks_for_new_states_itself(run):
    from starlette.testclient import TestClient

    from xmc.serve.app import create_app

    with TestClient(create_app({"run": run}, reload_s=0.05), base_url="http://127.0.0.1") as client:
        assert first(client)["label_id"] != "new"
        xmc.add_labels(run, {"new": "purple banana"})
        deadline = time.monotonic() + 10
        while first(client)["label_id"] != "new":
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_compaction_keeps_probabilities_and_says_what_it_cannot_keep(run):
    """Half a run's day: labels are added, the index is built anew, in the end by another backend."""
    with client_of({"run": run}) as client:
        good = {"texts": ["tender tram"], "min_probability": 0.2}
        before = client.post("/v1/search", json=good).json()["results"]
        change(client, "add", labels={"new": "purple banana"})
        with pytest.warns(xmc.errors.XmcWarning):
            xmc.compact_labels(run, device="cpu")
        described = client.post("/v1/reload", json={}, headers=AS_ADMIN).json()
        assert described["calibration"] == {"labels": 60, "edited": 1, "carried": True}
        assert client.post("/v1/search", json=good).json()["results"] == before
        sets = client.post("/v1/search", json={"texts": ["tender tram"], "sets": {}})
        assert sets.status_code == 409 and "fitted for labels that were edited since" in sets.json()["error"]["message"]
        with pytest.warns(xmc.errors.XmcWarning):
            xmc.index_run(run, settings=["index.name=faiss.ivf", "index.nlist=4"], device="cpu")
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        refused = client.post("/v1/search", json=good)
        assert refused.status_code == 409 and refused.json()["error"]["code"] == "not_calibrated"
        assert "fitted for an earlier index: its operator can run `xmc check calibrate`" in refused.text
        ready = client.get("/readyz")
        assert "its calibration was fitted for an earlier index" in ready.json()["runs"]["run"]["notes"][0]
        assert str(run) not in ready.text + refused.text + sets.text


@pytest.mark.parametrize(
    ("path", "asked", "letting_in", "code"),
    [
        ("/v1/search", {"texts": ["a tram"], "min_probability": 0.2}, "routes.admit_search", "not_calibrated"),
        ("/v1/search", {"texts": ["a tram"], "sets": {}}, "routes.admit_search", "not_conformal"),
        (
            "/v1/vector_stores/run/search",
            {"query": "a tram", "ranking_options": {"score_threshold": 0.2}},
            "compat_routes.Ask",
            "not_calibrated",
        ),
    ],
)
def test_what_a_run_loses_before_the_search_is_refused_as_at_the_door(
    run, tiny_run, path, asked, letting_in, code, monkeypatch
):
    with client_of({"run": run}) as client:
        assert client.post(path, json=asked).status_code == 200
        module, name = letting_in.split(".")
        let_in = getattr(importlib.import_module(f"xmc.serve.{module}"), name)

        def reloaded_behind_the_door(*given, **options):
            client.app.state.service.runs["run"].now = PassagesNow(xmc.Retriever.load(tiny_run))
            return let_in(*given, **options)

        monkeypatch.setattr(f"xmc.serve.{letting_in}", reloaded_behind_the_door)
        answers = [client.post(path, json=asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [409, 409]
    late, early = (answer.json()["error"] for answer in answers)
    assert late["code"] == early["code"] == code and late["message"].split(", ")[-1] == early["message"].split(", ")[-1]
