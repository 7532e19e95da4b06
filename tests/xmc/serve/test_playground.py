"""Invariants, in a real browser: the page shows what the service answers, the newest query wins, no label is ever HTML,
everything can be done by keys, and no state scrolls sideways on a phone."""

import json
import shutil
import urllib.error
import urllib.request

import pytest
from serve_cases import served

from xmc import LabelEditor, Retriever

chromium = pytest.importorskip("chromium", reason="websockets is not installed")
PROGRAM = chromium.find_chromium()
pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium here; on Debian: apt-get install chromium")

TOKEN = "a-token-for-the-tests"
TRAP = "<img src=x onerror=\"document.title='run'\"> & <b>trap</b>"
NARROW, WIDE = (360, 640), (1000, 800)
HITS = "document.querySelectorAll('.hit').length"
IDS = "[...document.querySelectorAll('.column:nth-child({column}) .id')].map((id) => id.textContent)"
FOCUSED = """[document.querySelector(':focus > .rank')?.textContent, document.activeElement.id,
             document.activeElement.tagName].find(Boolean)"""


@pytest.fixture(scope="module")
def runs(calibrated_run, tiny_run, tmp_path_factory):
    """Two runs: one calibrated, with label sets; one neither, with a label that would be HTML if it were let."""
    changed = shutil.copytree(tiny_run, tmp_path_factory.mktemp("playground") / "changed")
    LabelEditor(changed).add({"TRAP": TRAP, "LONG-" + "x" * 80: "rough marble " + "y" * 200})
    return {"calibrated": calibrated_run, "changed": changed}


@pytest.fixture(scope="module")
def address(runs):
    words = [word for name, folder in runs.items() for word in ("--run", f"{name}={folder}")]
    with served(*words, env={"XMC_TOKEN": TOKEN}) as process:
        yield process.address


@pytest.fixture(scope="module")
def browser(address, tmp_path_factory):
    with chromium.Chromium(PROGRAM, tmp_path_factory.mktemp("chromium")) as page:
        page.open(address)
        page.run(f"sessionStorage.setItem('xmc-token', '{TOKEN}')")
        yield page


@pytest.fixture
def page(browser):
    """The browser as new; a test fails for what its console says, but for the answers that are errors."""
    browser.size(*WIDE)
    browser.prefer()
    browser.problems.clear()
    yield browser
    assert [problem for problem in browser.problems if not problem.startswith("network: Failed to load")] == []


@pytest.fixture
def show(page, address):
    """Open the page with a state in its link, and wait for the answer."""

    def open_state(**state):
        page.open(address, state)
        page.wait("document.querySelectorAll('.column').length && results.ariaBusy === 'false'")

    return open_state


def refusal(address, body):
    """The sentence with which the service refuses a search."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"{address}/v1/search", json.dumps(body).encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        return json.load(answer)["error"]["message"]


def test_a_token_is_asked_for_and_kept_in_the_tab(page, address):
    page.run("sessionStorage.clear()")
    page.open(address)
    page.wait("!document.getElementById('token-form').hidden")
    assert "a token is needed" in page.run("document.getElementById('token-why').textContent")
    for typed, accepted in (("wrong", False), (TOKEN, True)):
        page.run("document.getElementById('token-why').textContent = ''")
        page.type(typed)
        page.press("Enter")
        page.wait(f"document.getElementById('token-form').hidden === {json.dumps(accepted)}")
        page.wait("document.getElementById('token-why').textContent || document.activeElement.id === 'q'")
    assert TOKEN not in page.run("location.href + document.body.innerHTML + JSON.stringify(localStorage)")
    assert page.run("sessionStorage.getItem('xmc-token')") == TOKEN


def test_without_a_query_it_tells_of_the_runs(page, show):
    show()
    assert page.run("[...document.querySelectorAll('h2')].map((name) => name.textContent)") == ["calibrated", "changed"]
    assert page.run("[...document.querySelectorAll('.chip')].map((chip) => chip.textContent)") == [
        "calibrated", "not calibrated",
    ]  # fmt: skip


def test_typing_searches(page, show, runs):
    show()
    page.type("rough marble")
    page.wait(HITS)
    page.wait("document.title === 'rough marble – xmc'")
    retriever = Retriever.load(runs["calibrated"])
    (hits,) = retriever.search(["rough marble"], k=10)
    assert page.run(IDS.format(column=1)) == [hit.label_id for hit in hits]
    first = page.run("document.querySelector('.hit').textContent")
    assert (
        first
        == f"1{hits[0].label_id}{hits[0].text}probability {hits[0].probability:.1%}score {hits[0].score:.4f}".replace(
            "%", " %"
        )
    )
    share = float(page.run("document.querySelector('.bar').style.getPropertyValue('--share')"))
    assert share == hits[0].probability
    told = page.run("document.querySelector('.column').textContent")
    assert retriever.generation in told and "proven exact" in told and "round trip" in told
    assert page.run("location.hash") == "#q=rough+marble"


def test_enter_searches_at_once(page, show):
    show()
    page.run("document.getElementById('q').focus(), document.getElementById('q').value = 'rough marble'")  # no event
    page.press("Enter")
    page.wait(HITS)


def test_a_late_answer_does_not_replace_a_newer_one(page, show):
    show()
    slow = """const real = fetch; let count = 0; window.late = 0;
        window.fetch = async (path, {signal, ...rest}) => {
            const answer = await real(path, rest);
            if (!count++) { await new Promise((go) => setTimeout(go, 600)); window.late = 1; }
            return answer;
        }"""
    page.run(f"(() => {{ {slow} }})()")
    page.type("solar")
    page.press("Enter")
    page.type(" marble")
    page.press("Enter")
    page.wait(HITS)
    before = page.run(IDS.format(column=1))
    page.wait("window.late")
    page.run("new Promise((go) => setTimeout(go, 100))")
    assert page.run(IDS.format(column=1)) == before
    assert page.run("document.title") == "solar marble – xmc"


def test_keys_move_through_hits(page, show):
    show(q="rough marble", k="3", **{"with": "changed"})
    page.run("document.activeElement.blur()")
    for key, focused in (
        ("/", "q"), ("ArrowDown", "1"), ("ArrowDown", "2"), ("ArrowUp", "1"), ("End", "3"), ("ArrowDown", "3"),
        ("ArrowRight", "3"), ("Home", "1"), ("ArrowLeft", "1"), ("ArrowUp", "q"), ("ArrowDown", "1"), ("Escape", "q"),
    ):  # fmt: skip
        page.press(key)
        assert page.run(FOCUSED) == focused, key
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("/")
    assert page.run("document.getElementById('q').value") == "rough marble/"  # in a field it is a character


def test_tab_reaches_every_control_and_one_hit_of_each_list(page, show):
    show(q="rough marble", k="3", **{"with": "changed"})
    page.run("document.getElementById('q').focus()")
    reached = []
    while (stop := page.run(FOCUSED)) != "BODY":
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", stop
        reached.append(stop)
        page.press("Tab")
    wanted = ["q", "BUTTON", "SUMMARY", "run", "with", "answer", "k", "allowed", "certify", "1", "1"]
    assert reached == wanted  # `p` is off: one run is not calibrated


def test_controls_have_names_and_answers_are_announced(page, show):
    show(q="rough marble")
    nameless = "[...document.querySelectorAll('input, select')].filter((field) => !field.labels.length).length"
    assert page.run(nameless) == 0
    assert page.run("document.querySelector('[role=status]').textContent") == "10 labels from calibrated."


def test_it_says_that_nothing_is_relevant(page, show):
    show(q="rough marble", p="1")
    assert (
        page.run("document.querySelector('.nothing').textContent")
        == "Nothing relevantNo label is at least 100.0 % probable."
    )
    assert page.run(HITS) == 0


def test_label_sets(page, show, runs):
    show(q="zzz qqq", answer="set", alpha="0.2")
    (hits,) = Retriever.load(runs["calibrated"]).search_sets(["zzz qqq"], alpha=0.2)
    assert page.run(IDS.format(column=1)) == [hit.label_id for hit in hits]
    assert page.run("document.getElementById('k').checkVisibility()") is False


def test_two_runs_side_by_side(page, show, runs):
    query = "img src x onerror rough marble"
    show(q=query, k="4", **{"with": "changed"})
    one, two = ([hit.label_id for hit in Retriever.load(folder).search([query], k=4)[0]] for folder in runs.values())
    assert [page.run(IDS.format(column=column)) for column in (1, 2)] == [one, two]
    only = [[label for label in one if label not in two], [label for label in two if label not in one]]
    assert page.run("[...document.querySelectorAll('.only .id')].map((id) => id.textContent)") == only[0] + only[1]
    ups = {label: one.index(label) - two.index(label) for label in two if label in one}
    moved = [f"{'↑' if up > 0 else '↓'} {abs(up)} ranks {'higher' if up > 0 else 'lower'} than in calibrated"
             for up in ups.values() if up]  # fmt: skip
    chips = (
        "[...document.querySelectorAll('.column:nth-child(2) .text .chip:not(.warn)')].map((chip) => chip.textContent)"
    )
    assert page.run(chips) == moved
    assert moved and only[1]  # else this shows nothing
    assert page.run("summary.textContent") == (
        f"{len(ups)} labels in both, {len(moved)} of them at another rank; "
        f"{len(only[0])} only in calibrated, {len(only[1])} only in changed."
    )
    assert page.run("document.getElementById('p').disabled") is True
    assert "calibrate" in page.run("document.getElementById('p-why').textContent")


@pytest.mark.parametrize(
    ("state", "body"), [({"k": "5000"}, {"k": 5000}), ({"k": ""}, {"k": None}), ({"run": "gone"}, {"run": "gone"})]
)
def test_errors_are_the_sentences_of_the_service(page, show, address, state, body):
    show(q="rough marble", **state)
    wanted = refusal(address, {"texts": ["rough marble"], **body})
    assert page.run("document.querySelector('[role=alert].bad').textContent") == wanted


def test_a_service_that_is_gone_is_told(page, show):
    show()
    page.call("Network.enable")
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", offline=True, **offline)
    page.type("rough")
    page.wait("document.querySelector('.bad')?.textContent.startsWith('The service cannot be reached')")
    page.call("Network.emulateNetworkConditions", offline=False, **offline)


def test_a_label_text_is_never_html(page, show):
    show(q=TRAP, run="changed", k="1")
    assert page.run("document.querySelector('.hit .text').textContent") == f"TRAP{TRAP}"
    assert page.run("results.querySelectorAll('img, b').length") == 0
    assert page.run("document.title") == f"{TRAP} – xmc"


def test_a_violation_of_the_content_policy_would_be_seen(page, show):
    show()
    page.run("document.body.setAttribute('style', 'color: red')")
    assert "Content Security Policy" in page.problems[-1]
    page.problems.clear()


@pytest.mark.parametrize("state", [{}, {"q": "rough marble", "with": "changed"}, {"q": "rough", "k": "5000"}])
def test_a_phone_does_not_scroll_sideways(page, show, state):
    page.size(*NARROW, mobile=True)
    show(**state)
    page.run("settings.open = true")
    assert page.run("document.documentElement.scrollWidth") <= page.run("innerWidth") == NARROW[0]
    assert page.run(
        "[...document.querySelectorAll('.card *')].every((part) => part.getBoundingClientRect().right <= 360)"
    )


def test_it_follows_what_the_user_prefers(page, show):
    show()
    colors = "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name])"
    bright = page.run(colors)
    page.prefer(color_scheme="dark", reduced_motion="reduce")
    assert all(one != other for one, other in zip(bright, page.run(colors), strict=True))
    page.run("results.ariaBusy = 'true'")
    assert page.run("getComputedStyle(results).transitionProperty") == "none"
