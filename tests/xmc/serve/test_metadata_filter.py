"""Searches among the passages with some metadata: what each form of a filter finds is what asking each passage does."""

import random
import shutil

import pytest
from repetitions import repetitions
from serve_cases import AS_ADMIN, client_of

import xmc
from xmc.integrations.run_passages import RunPassages
from xmc.serve.limits import Limits

VALUES = [0, 1, 2, 2.0, 2.5, True, False, None, "", "a", "b", "é", [], [1], {"x": 1}, {}]
KEYS = ["page", "tag", "clé", "a.b"]


@pytest.fixture(scope="module")
def kept_run(calibrated_run, tmp_path_factory):
    """A run of which half of the labels have metadata of each kind; shared, so it must not be changed."""
    run = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(calibrated_run, run)
    labels, draw = xmc.list_labels(run), random.Random(0)
    kept = {i: {key: draw.choice(VALUES) for key in KEYS if draw.random() < 0.7} for i in list(labels)[::2]}
    RunPassages(run).add({label_id: labels[label_id] for label_id in kept}, kept)
    return run, kept


@pytest.fixture(scope="module")
def kept(kept_run):
    return kept_run[1]


@pytest.fixture(scope="module")
def client(kept_run):
    with client_of({"run": kept_run[0]}) as opened:
        yield opened


@pytest.fixture(scope="module")
def small(kept_run):
    with client_of({"run": kept_run[0]}, limits=Limits(allowed_labels=20)) as opened:
        yield opened


def interrupt(*given):
    raise KeyboardInterrupt  # in place of the second commit


def ask(client, path="/v1/search", **asked):
    answer = client.post(path, json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def searched(client, **asked):
    """All label ids that a search finds, best first."""
    (result,) = ask(client, **{"texts": ["red apple"], "k": 1000, **asked})["results"]
    return [hit["label_id"] for hit in result["hits"]]


def some_filter(draw, depth=0):
    """A filter that can be asked of any value: orders are tried by themselves."""
    kind = draw.choice(["value", "eq", "ne", "in", "nin"] + ["and", "or", "not"] * (depth < 3))
    key, value = draw.choice([*KEYS, "nowhere"]), draw.choice(VALUES)
    if kind == "value":
        return {key: value, draw.choice(KEYS): draw.choice(VALUES)}
    if kind in ("in", "nin"):
        return {key: {f"${kind}": draw.sample(VALUES, draw.randrange(4))}}
    if kind in ("eq", "ne"):
        return {key: {f"${kind}": value}}
    if kind == "not":
        return {"$not": some_filter(draw, depth + 1)}
    return {f"${kind}": [some_filter(draw, depth + 1) for _ in range(draw.randrange(4))]}


def holds(written, metadata):
    """Whether metadata pass a filter, in plain loops."""
    for key, value in written.items():
        if key == "$not":
            good = not holds(value, metadata)
        elif key in ("$and", "$or"):
            good = (all if key == "$and" else any)(holds(each, metadata) for each in value)
        elif isinstance(value, dict) and any(name.startswith("$") for name in value):
            good = all(compares(name, operand, key, metadata) for name, operand in value.items())
        else:
            good = key in metadata and metadata[key] == value
        if not good:
            return False
    return True


def compares(operator, operand, key, metadata):
    there = metadata.get(key)
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        if there is None:
            return False
        return {"$gt": there > operand, "$gte": there >= operand, "$lt": there < operand, "$lte": there <= operand}[
            operator
        ]
    found = key in metadata and there in (operand if operator in ("$in", "$nin") else [operand])
    return found if operator in ("$eq", "$in") else not found


def test_a_filter_finds_what_asking_each_passage_does(client, kept):
    everything, draw, found = searched(client), random.Random(1), set()
    for _ in range(repetitions(40, full=2000)):
        written = some_filter(draw)
        wanted = [label_id for label_id in everything if holds(written, kept.get(label_id, {}))]
        assert searched(client, filter=written) == wanted, written
        found.add(len(wanted))
    assert len(found) > 8 and {0, len(everything)} <= found


def test_orders_are_asked_of_what_another_part_lets_through(client, kept):
    everything = searched(client)
    for operator in ("$gt", "$gte", "$lt", "$lte"):
        for key, operand, kind in [("page", 2, (int, float)), ("tag", 0.5, (int, float)), ("tag", "a", str)]:
            same = [value for value in VALUES if isinstance(value, kind)]
            written = {"$and": [{key: {"$in": same}}, {key: {operator: operand}}]}
            wanted = [label_id for label_id in everything if holds(written, kept.get(label_id, {}))]
            assert searched(client, filter=written) == wanted != []


def test_a_filter_goes_with_all_else_that_a_search_takes(client, kept, kept_run):
    retriever = xmc.Retriever.load(kept_run[0], warn=False)
    page = {label_id for label_id, metadata in kept.items() if metadata.get("page") == 2}
    asked = {"filter": {"page": 2}}
    few = sorted(page)[:2] + [label_id for label_id in retriever.labels.ids if label_id not in page][:2]
    assert set(searched(client, **asked, allowed=few)) == set(few) & page
    vectors = retriever.encode(["red apple"]).tolist()
    assert searched(client, **asked, texts=None, vectors=vectors) == searched(client, **asked)
    offline = retriever.search(["red apple"], k=1000, min_probability=0.01, allowed=page)[0]
    assert searched(client, **asked, min_probability=0.01) == [hit.label_id for hit in offline]
    body = {"texts": ["red apple"], "sets": {"alpha": 0.5}}
    in_set = [hit["label_id"] for hit in ask(client, **body)["results"][0]["hits"]]
    assert [hit["label_id"] for hit in ask(client, **body, **asked)["results"][0]["hits"]] == [
        label_id for label_id in in_set if label_id in page
    ]
    (result,) = ask(client, texts=["red apple"], k=2, metadata=True, certify=True, **asked)["results"]
    assert [hit["metadata"] for hit in result["hits"]] == [kept[hit["label_id"]] for hit in result["hits"]]
    assert (result["certified"], result["truncated"], result["abstained"]) == (True, False, False)


def test_a_filter_that_nothing_passes_is_an_empty_answer(client):
    (result,) = ask(client, texts=["red apple"], filter={"nowhere": 1})["results"]
    assert (result["hits"], result["truncated"], result["abstained"]) == ([], True, False)
    assert searched(client, filter={}) == searched(client)


def test_openai_s_form_says_the_same(client, kept):
    def stored(filters):
        asked = {"query": "red apple", "max_num_results": 50, "filters": filters}
        return [hit["file_id"] for hit in ask(client, "/v1/vector_stores/run/search", **asked)["data"]]

    draw, plain = random.Random(2), [value for value in VALUES if type(value) in (int, float, bool, str)]
    for _ in range(repetitions(10, full=500)):
        kind, key = draw.choice(["eq", "ne", "in", "nin"]), draw.choice(KEYS)
        value = draw.sample(plain, 3) if kind in ("in", "nin") else draw.choice(plain)
        one, other = {"type": kind, "key": key, "value": value}, {"type": "in", "key": "page", "value": [1, 2.5]}
        by = draw.choice(["and", "or"])
        written = {f"${by}": [{key: {f"${kind}": value}}, {"page": {"$in": [1, 2.5]}}]}
        assert stored(one) == searched(client, k=50, filter={key: {f"${kind}": value}})
        assert stored({"type": by, "filters": [one, other]}) == searched(client, k=50, filter=written)
    some = sorted(kept)[:9]
    numbers = {"type": "in", "key": "page", "value": [1, 2, 2.5]}
    filters = [numbers, {"type": "gt", "key": "page", "value": 1}, {"type": "in", "key": "id", "value": some}]
    assert set(stored({"type": "and", "filters": filters})) == {i for i in some if kept[i].get("page") in (2, 2.5)}
    assert stored({"type": "in", "key": "page", "value": []}) == []


DEEP = {"page": 2}
for _ in range(60):
    DEEP = {"$not": DEEP}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"page": {"$like": "a"}}, "a filter has no operator '$like'; there are: $eq, $ne, $in"),
        ({"$nor": []}, "a filter has no operator '$nor'; there are: $and, $or, $not"),
        ({"$and": {"page": 1}}, "'$and' takes a list of filters"),
        ({"$or": [1]}, "a filter must be a dictionary of keys and values, got 1"),
        ({"page": {"$in": "ab"}}, "'$in' takes a list"),
        ({"page": {"$gt": None}}, "'$gt' takes a number or a text"),
        ({"page": {"$gt": 1}}, "cannot be asked of"),
        ([{"page": 1}], "filter: Input should be an object"),
        ("page", "filter: Input should be an object"),
        ({"$or": [{"page": page} for page in range(101)]}, "filter: there may be 100 conditions; $in and $nin"),
        ({"page": {"$nin": list(range(21))}}, "values of the filter: 21 is over the limit of 20 (allowed_labels)"),
    ],
)
def test_filters_that_cannot_be_asked(small, written, said):
    answer = small.post("/v1/search", json={"texts": ["a"], "filter": written})
    assert answer.status_code == 422 and said in answer.json()["error"]["message"], answer.text


def test_a_filter_of_many_parts_within_one_another(small):
    assert searched(small, filter=DEEP) == searched(small, filter={"page": 2}) != []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "9" * 5000])
def test_numbers_that_are_none_are_refused(client, number):
    bodies = {
        "/v1/search": '{"texts": ["a"], "filter": {"page": {"$gt": %s}}}',
        "/v1/vector_stores/run/search": '{"query": "a", "filters": {"type": "gt", "key": "page", "value": %s}}',
    }
    for path, body in bodies.items():
        answer = client.post(path, content=body % number, headers={"content-type": "application/json"})
        assert answer.status_code == 422, answer.text


def test_a_passage_is_found_by_what_belongs_to_its_text_whatever_is_committed_meanwhile(tiny_run_copy, monkeypatch):
    """Each owner's text tells the owner: a passage goes from one to the next, metadata first and text second."""
    writer = RunPassages(tiny_run_copy)

    def give(owner):
        writer.add({"n": f"purple banana of {owner}"}, {"n": {"owner": owner}})

    with client_of({"run": tiny_run_copy}) as client:

        def owned_by(owner):
            asked = {"texts": ["purple banana"], "k": 1, "metadata": True, "filter": {"owner": owner}}
            return [(hit["text"], hit["metadata"]) for hit in ask(client, **asked)["results"][0]["hits"]]

        def is_owner_of_all(*owners):
            for owner in ("one", "two", "three", "four"):
                wanted = [(f"purple banana of {owner}", {"owner": owner})] if owner in owners else []
                assert owned_by(owner) == wanted, owner

        give("one")
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        give("two")
        give("three")
        is_owner_of_all("three")  # what is kept is read now, and is newer than the labels that were there
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("xmc.engine.label_commit.save_edits", interrupt)
            give("four")
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        is_owner_of_all("three")
        give("four")
        is_owner_of_all("three")
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        is_owner_of_all("four")
        writer.add({"n": "purple banana of four"}, {"n": {"owner": "one"}})  # no other text, so no other generation
        client.post("/v1/reload", json={}, headers=AS_ADMIN)
        assert owned_by("one") == [("purple banana of four", {"owner": "one"})] and owned_by("four") == []
