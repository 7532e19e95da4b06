"""Who may ask for what."""

import pytest
from serve_cases import ADMIN, AS_ADMIN, client_of
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from xmc.errors import ConfigError
from xmc.serve.access import Access, access_for
from xmc.serve.app import create_app
from xmc.serve.refusals import RefusedError

TOKEN = "a-token-for-readers"
AS_READER = {"authorization": f"Bearer {TOKEN}"}
SEARCH = {"texts": ["a"]}


@pytest.fixture(scope="module")
def closed(tiny_run):
    with client_of({"plain": tiny_run}, token=TOKEN) as opened:
        yield opened


def test_readers_need_their_token(closed):
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": "Basic " + TOKEN},
    ):
        answer = closed.post("/v1/search", json=SEARCH, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    assert closed.post("/v1/search", json=SEARCH, headers=AS_READER).status_code == 200
    assert closed.post("/v1/search", json=SEARCH, headers=AS_ADMIN).status_code == 200


def test_what_is_open_without_a_token(closed):
    assert [closed.get(path).status_code for path in ("/", "/healthz", "/readyz")] == [200] * 3
    assert [closed.get(path).status_code for path in ("/metrics", "/v1/runs", "/docs", "/nowhere")] == [401] * 4
    assert closed.get("/metrics", headers=AS_READER).status_code == 200


@pytest.mark.parametrize("path", ["/v1/labels", "/v1/reload"])
def test_changes_need_the_admin_token(closed, path):
    assert closed.post(path, json={}).status_code == 401
    assert closed.post(path, json={}, headers=AS_READER).status_code == 403
    assert closed.post(path, json={}, headers=AS_ADMIN).status_code in (200, 422)


@pytest.mark.parametrize("path", ["/v1/labels/", "//v1/labels", "/v1/./labels", "/V1/labels", "/v1%2flabels"])
def test_no_spelling_of_a_path_gets_around_the_token(closed, path):
    answer = closed.post(path, json={"action": "remove", "ids": ["a"]}, headers=AS_READER, follow_redirects=True)
    assert answer.status_code in (403, 404)


def test_changes_are_off_without_an_admin_token(tiny_run):
    with client_of({"plain": tiny_run}, admin_token="") as client:
        answer = client.post("/v1/reload", json={}, headers=AS_ADMIN)
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "admin_off"
        assert client.post("/v1/reload", json={}, headers={"authorization": "Bearer "}).status_code == 403


@pytest.mark.parametrize("below", ["/xmc", "/xmc/"])
def test_below_another_path_the_classes_are_the_same(tiny_run, below):
    app = create_app({"plain": tiny_run}, access=Access(TOKEN, ADMIN), reload_s=0)
    with TestClient(app, base_url="http://127.0.0.1", root_path=below.rstrip("/")) as client:
        assert client.get("/xmc/healthz").status_code == 200
        assert client.post("/xmc/v1/search", json=SEARCH).status_code == 401
        assert client.post("/xmc/v1/search", json=SEARCH, headers=AS_READER).status_code == 200
        assert client.post("/xmc/v1/reload", json={}, headers=AS_READER).status_code == 403
        assert client.post("/xmc/v1/reload", json={}, headers=AS_ADMIN).status_code == 200


def test_as_a_part_of_another_application(tiny_run):
    app = create_app({"plain": tiny_run}, reload_s=0)  # as it is: everybody may read, nobody may change anything
    parent = Starlette(routes=[Mount("/xmc", app)], lifespan=lambda _: app.router.lifespan_context(app))
    with TestClient(parent, base_url="http://127.0.0.1") as client:
        assert client.post("/xmc/v1/search", json=SEARCH).status_code == 200
        answer = client.post("/xmc/v1/labels", json={"action": "remove", "ids": ["L00"]})
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "admin_off"


def test_docs_are_off_unless_asked_for_and_the_page_can_be_left_out(tiny_run, client):
    with client_of({"plain": tiny_run}, playground=False) as shut:
        paths = ("/docs", "/openapi.json", "/redoc", "/", "/playground.js")
        assert [shut.get(path).status_code for path in paths] == [404] * 5
    assert [client.get(path).status_code for path in ("/openapi.json", "/")] == [200] * 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]:8000"])
def test_local_names_are_answered(client, host):
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "[::2]", "0.0.0.0"])
def test_another_host_name_is_refused(client, host):
    answer = client.get("/healthz", headers={"host": host})
    assert answer.status_code == 421 and answer.json()["error"]["code"] == "unknown_host"


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_a_health_check_may_ask_with_head(client, path):
    assert client.head(path).status_code == 200


def test_what_is_not_there_is_said_in_a_sentence(client):
    for path in ("/v1/v1/search", "/v1/search/"):  # a redirect would name http://, also behind TLS
        answer = client.post(path, json=SEARCH, follow_redirects=False)
        assert answer.status_code == 404 and answer.json()["error"]["message"] == "there is no such path here."
    answer = client.get("/v1/search")
    assert answer.headers["allow"] == "POST" and "header Allow" in answer.json()["error"]["message"]


def test_no_other_site_may_read(client):
    answer = client.options("/v1/search", headers={"origin": "http://evil.example"})
    assert answer.status_code == 405 and not any(name.startswith("access-control") for name in answer.headers)


def test_tokens_that_are_no_good():
    with pytest.raises(ConfigError, match="at least 16"):
        Access("short")
    with pytest.raises(ConfigError, match="the same"):
        Access(ADMIN, ADMIN)
    assert ADMIN not in repr(Access("", ADMIN))


def test_names_of_a_service():
    assert access_for("127.0.0.1", "", "", ["My.Host"]).hosts == ("localhost", "127.0.0.1", "[::1]", "my.host")
    assert access_for("0.0.0.0", TOKEN, "", []).hosts == ()
    assert access_for("0.0.0.0", TOKEN, "", ["name"]).hosts == ("localhost", "127.0.0.1", "[::1]", "name")


@pytest.mark.parametrize(
    ("host", "allowed", "called", "elsewhere"),
    [
        ("0.0.0.0", ["search.example.org"], ["search.example.org", "127.0.0.1:8000"], "0.0.0.0"),
        ("127.0.0.2", [], ["127.0.0.2:8000", "localhost"], "127.0.0.3"),
        ("192.0.2.7", ["name"], ["192.0.2.7", "name:443"], "192.0.2.8"),
        ("fd00::7", ["name"], ["[fd00::7]:8000"], "[fd00::8]"),
    ],
)
def test_a_service_answers_to_its_own_address_and_to_a_health_check(host, allowed, called, elsewhere):
    access = access_for(host, TOKEN, "", allowed)
    for name in called:
        access.require("/healthz", {b"host": name.encode()})
    with pytest.raises(RefusedError):
        access.require("/healthz", {b"host": elsewhere.encode()})


TRAVERSALS = [
    "/../etc/passwd", "/%2e%2e/etc/passwd", "/%252e%252e/etc/passwd", "//etc/passwd", "/..%2fetc/passwd", "/%00",
    "/playground.js/../../app.py", "/..\\..\\etc\\passwd", "/．．/etc/passwd", "/playground.js%00.html",
    "/v1/vector_stores/../../etc/search", "/v1/vector_stores/%2e%2e/search", "/v1/vector_stores/..%2f..%2fetc/search",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out(client, path):
    for answer in (client.get(path), client.post(path, json={"query": "a"})):
        assert answer.status_code in (404, 405, 422), path
        assert "root:" not in answer.text and "import" not in answer.text
