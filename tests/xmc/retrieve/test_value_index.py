"""Ids by the values of their metadata, which are read once for a key that there is."""

import json
import random

from xmc.retrieve.value_index import ValueIndex


def test_any_number_of_keys_that_nothing_has_are_asked_for_by_reading_once_and_are_not_remembered():
    reads = []

    class Metadata(dict):
        def items(self):
            reads.append(1)
            return super().items()

    index = ValueIndex(Metadata({"a": '{"page": 1}', "b": '{"page": 2, "tag": "x"}', "c": "{}"}))
    for number in range(1000):
        assert index.ids({f"key {number}": 1}) == [] == list(index.under(f"key {number}"))
    assert len(reads) == 1 and not index._ids_of
    for _ in range(2):
        assert index.ids({"page": 2}) == ["b"] == index.ids({"tag": "x", "page": 2}) and index.ids({"tag": 1}) == []
    assert len(reads) == 3 and set(index._ids_of) == {"page", "tag"}


def test_an_updated_index_is_one_of_the_new_metadata():
    draw, values, keys = random.Random(0), [1, 2.0, "a", None, [1], {"x": 1}], ["page", "tag", "new"]

    def some():
        return json.dumps({key: draw.choice(values) for key in keys if draw.random() < 0.5})

    kept = {f"n{row}": some() for row in range(40)}
    index = ValueIndex(kept)
    for turn in range(60):
        kept = dict(kept)
        for _ in range(draw.choice([0, 1, 2, 3, 20])):
            label_id = f"n{draw.randrange(50)}"
            kept[label_id] = some()
            if draw.random() < 0.3:
                del kept[label_id]
        index, fresh = index.updated(kept), ValueIndex(kept)
        for key in (*keys[: 1 + turn // 10], "nowhere"):
            assert by_value(index, key) == by_value(fresh, key)
            for value in values:
                assert sorted(index.ids({key: value})) == sorted(fresh.ids({key: value}))


def by_value(index, key):
    return {repr(value): sorted(ids) for value, ids in index.under(key)}


def test_an_updated_index_shows_the_values_that_are_there_now():
    index = ValueIndex({"a": '{"page": 1}'} | {f"n{row}": "{}" for row in range(9)})
    assert by_value(index, "page") == {"1": ["a"]}
    assert by_value(index.updated({**index._metadata, "a": '{"page": true}'}), "page") == {"True": ["a"]}
    assert by_value(index, "page") == {"1": ["a"]}
