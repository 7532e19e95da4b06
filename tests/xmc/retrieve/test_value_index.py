"""Ids by the values of their metadata, which are read once for a key that there is."""

import json

from xmc.retrieve.value_index import ValueIndex


def test_any_number_of_keys_that_nothing_has_are_asked_for_by_reading_once_and_are_not_remembered():
    kept, reads = {"a": {"page": 1}, "b": {"page": 2, "tag": "x"}, "c": {}}, []

    def metadata():
        reads.append(1)
        return ((label_id, json.dumps(each)) for label_id, each in kept.items())

    index = ValueIndex(metadata)
    for number in range(1000):
        assert index.ids({f"key {number}": 1}) == [] == list(index.under(f"key {number}"))
    assert len(reads) == 1 and not index._ids_of
    for _ in range(2):
        assert index.ids({"page": 2}) == ["b"] == index.ids({"tag": "x", "page": 2}) and index.ids({"tag": 1}) == []
    assert len(reads) == 3 and set(index._ids_of) == {"page", "tag"}
