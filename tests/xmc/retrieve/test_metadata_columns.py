"""Invariants: a filter on columns keeps what it keeps when each passage is asked in turn, after any edits, and raises
where that does; a key is read once."""

import json
import random

import numpy as np
import pytest

from tests.repetitions import repetitions
from xmc.data.tables import LabelTable
from xmc.errors import ConfigError
from xmc.retrieve.metadata_columns import MetadataColumns
from xmc.retrieve.metadata_filters import Equals, Joined, Not, OfValue, OneOf
from xmc.retrieve.passage_records import Record, Records
from xmc.retrieve.written_filters import read_filter
from xmc.values import Passage

KEYS = ["page", "tag", "any"]
VALUES = {
    "page": [0, 1, 1.0, True, 2.5, -3, 2**70, 1e300],
    "tag": ["", "a", "b", "aa", "ä", "\U0001f600"],
    "any": [None, 0, False, 2, "a", "2", [], [1], [1.0, "x"], {}, {"a": [1]}, {"a": 1}],
}


def columns_of(kept, ids=None):
    """Columns of labels, all that something is kept beside unless they are named."""
    ids = sorted(kept) if ids is None else ids
    return MetadataColumns(LabelTable(ids, ["text"] * len(ids)), Records({i: Record("", kept[i]) for i in kept}))


def kept_by(keep, columns, among_L=None):
    labels = len(columns._labels)
    return np.flatnonzero(keep.kept(np.ones(labels, bool) if among_L is None else among_L, columns)).tolist()


def naive(keep, ids, kept, among_L):
    """Each passage is asked in turn."""
    passages = [Passage(label_id, "text", json.loads(kept.get(label_id, "{}"))) for label_id in ids]
    return [row for row, passage in enumerate(passages) if among_L[row] and keep(passage)]


def some_filter(draw, depth=3):
    join = draw.choice(["$and", "$or", "$not", "part", "part"]) if depth else "part"
    if join == "$not":
        return {"$not": some_filter(draw, depth - 1)}
    if join != "part":
        return {join: [some_filter(draw, depth - 1) for _ in range(draw.randrange(4))]}
    key = draw.choice([*KEYS, "nowhere"])
    values = VALUES[draw.choice([key, key, "any"]) if key in VALUES else "page"]
    operator = draw.choice(["$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte", ""])
    if operator in ("$in", "$nin"):
        return {key: {operator: draw.choices(values, k=draw.randrange(4))}}
    if operator.startswith(("$g", "$l")):
        values = [value for value in values if type(value) in (int, float, str)]
    value = draw.choice(values)
    return {key: {operator: value} if operator else value}


def outcome(call, *given):
    try:
        return call(*given)
    except ConfigError:
        return "refused"


def test_filters_keep_what_asking_each_passage_does_after_any_edits():
    draw, seen = random.Random(0), []
    everyone = [f"n{row:02d}" for row in range(50)]

    def some():
        return json.dumps({key: draw.choice(VALUES[key]) for key in KEYS if draw.random() < 0.6})

    ids, kept = everyone[::2], {label_id: some() for label_id in everyone[10:]}
    columns = columns_of(kept, ids)
    for turn in range(repetitions(20, full=300)):
        for _ in range(15):
            among_L = np.array([draw.random() < 0.8 for _ in ids], dtype=bool)
            keep = read_filter(some_filter(draw))
            wanted = outcome(naive, keep, ids, kept, among_L)
            assert outcome(kept_by, keep, columns, among_L) == wanted, keep.name
            seen.append("refused" if wanted == "refused" else bool(wanted))
        labels, records = columns._labels, columns._records
        for _ in range(draw.choice([1, 2, 12])):
            label_id = draw.choice(everyone)
            if turn % 2:
                kept = {**kept, label_id: some()}
                if draw.random() < 0.3:
                    del kept[label_id]
                records = Records({label_id: Record("", text) for label_id, text in kept.items()})
            if turn % 3:
                ids = sorted(set(ids) ^ {label_id}) or ids
                labels = LabelTable(ids, ["text"] * len(ids))
        columns = columns.updated(labels, records)
    assert min(seen.count(kind) for kind in ("refused", True, False)) > 20


def test_a_function_of_values_is_asked_once_of_each_that_is_open_yet():
    asked = []

    def holds(value):
        asked.append(value)
        return value in (None, 2)

    kept = {"a": '{"page": 2}', "b": '{"page": 2.0}', "c": '{"page": [1]}', "d": '{"page": "x"}', "e": "{}"}
    columns, keep = columns_of(kept), OfValue("page", holds, "")
    assert kept_by(keep, columns) == [0, 1, 4] and sorted(map(repr, asked)) == ["'x'", "2", "None", "[1]"]
    asked.clear()
    assert kept_by(keep, columns, np.array([True, False, False, True, False])) == [0] and asked == [2, "x"]


@pytest.mark.parametrize("keep", [Equals({"page": (3,)}), OneOf("page", (3, (3,))), Not(Equals({"page": b"3"}))])
def test_a_value_that_json_does_not_make_is_not_looked_up(keep):
    for filter in (keep, Joined("or", (keep, Equals({"page": 3})))):
        assert filter.kept(np.ones(1, bool), columns_of({"a": '{"page": [3]}'})) is None


def test_an_order_names_the_value_that_it_cannot_be_asked_of():
    columns = columns_of({"a": '{"page": 3}', "b": '{"page": "three"}'})
    with pytest.raises(ConfigError, match=r"\$gte 2 cannot be asked of 'three', which a passage has under 'page'"):
        kept_by(read_filter({"page": {"$gte": 2}}), columns)
    assert kept_by(read_filter({"$and": [{"page": {"$in": [3, 4]}}, {"page": {"$gte": 2}}]}), columns) == [0]


def test_any_number_of_keys_that_nothing_has_are_asked_for_by_reading_once_and_are_not_remembered(monkeypatch):
    reads, read = [], MetadataColumns._read
    monkeypatch.setattr(MetadataColumns, "_read", lambda self, key: reads.append(key) or read(self, key))
    columns = columns_of({"a": '{"page": 1}', "b": '{"page": 2, "tag": "x"}', "c": "{}"})
    for number in range(200):
        assert kept_by(read_filter({f"key {number}": 1}), columns) == []
    assert len(reads) == 1 and not columns._columns
    for _ in range(2):
        assert kept_by(read_filter({"page": 2}), columns) == [1] == kept_by(read_filter({"tag": "x"}), columns)
    assert len(reads) == 3 and set(columns._columns) == {"page", "tag"}


def test_updated_columns_show_the_values_that_are_there_now():
    kept = {"a": '{"page": 1}'} | {f"n{row}": "{}" for row in range(9)}
    columns = columns_of(kept)
    assert columns.column("page").values == [1]
    after = columns.updated(columns._labels, Records({"a": Record("", '{"page": true}')}))
    assert after._columns and [repr(value) for value in after.column("page").values] == ["True"]
    assert [repr(value) for value in columns.column("page").values] == ["1"]


def test_only_labels_with_other_metadata_than_before_are_read_again():
    kept = {"a": '{"page": 1}', "b": '{"page": 2}', "c": '{"page": 3}', "d": '{"page": 4}', "nowhere": "{}"}
    columns = columns_of(kept, ["a", "b", "c", "d", "e"])
    records = {label_id: Record("", text) for label_id, text in kept.items()}
    del records["d"]
    records |= {"a": Record("other", kept["a"]), "b": Record("", '{"page": 5}'), "nowhere": Record("", '{"page": 6}')}
    labels = LabelTable(["a", "b", "d", "e", "f"], ["text"] * 5)
    old_rows_L, new_rows = columns._carried(labels, Records(records))
    assert (old_rows_L.tolist(), new_rows) == ([0, -1, -1, 4, -1], [1, 2, 4])


def test_a_column_of_few_labels_takes_as_much_as_it_has():
    columns = columns_of({f"n{row:04d}": '{"rare": 1}' if row == 77 else '{"page": 1}' for row in range(1000)})
    rare, page = columns.column("rare"), columns.column("page")
    assert rare.rows.nbytes + rare.places_N.nbytes == 8 and page.places_N.nbytes < 4 * 1000
