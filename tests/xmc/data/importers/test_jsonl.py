"""JSON lines: what is there comes out as it went in, each bad row is named `file:row: reason`, or counted."""

import gzip
import json
import lzma

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset, text_files
from xmc.errors import DataError

LABELS = [{"id": "a", "text": "Anton"}, {"id": 7, "text": "seven"}, {"id": "ü", "text": "Übel", "parents": ["a"]}]
TRAIN = [{"id": "q1", "text": "one", "labels": ["ü", "a"]}, {"id": 2, "text": "two", "labels": [7, "7"]}]
TEST = [{"id": "q1", "text": "test", "labels": ["a", 7], "relevance": [0.5, 2]}]
OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open}


def write_lines(path, rows, suffix=""):
    with OPENERS[suffix](f"{path}{suffix}", "wt", encoding="utf-8") as file:
        file.writelines((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def make_source(folder, labels=LABELS, train=TRAIN, suffix=""):
    folder.mkdir(exist_ok=True)
    write_lines(folder / "labels.jsonl", labels, suffix)
    write_lines(folder / "train.jsonl", train, suffix)
    return folder


@pytest.mark.parametrize("suffix", OPENERS)
def test_import(tmp_path, suffix):
    source = make_source(tmp_path / "source", suffix=suffix)
    write_lines(source / "validation.jsonl", ["", *TRAIN[:1]])
    write_lines(source / "test.jsonl", TEST, suffix)
    report = import_dataset(source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == ["a", "7", "ü"]
    assert dataset.labels.texts == ["Anton", "seven", "Übel"]
    assert dataset.train.ids == ["q1", "2"]
    assert dataset.train.positives.offsets.tolist() == [0, 2, 3]
    assert dataset.train.positives.label_rows.tolist() == [0, 2, 1]
    assert dataset.dev.texts == ["one"]
    assert dataset.test.positives.weights.tolist() == [0.5, 2.0]
    assert dataset.notes == ()
    said = report.to_dict()
    assert said["format"] == "jsonl"
    assert said["merged_positives"] == 1
    assert said["fingerprint"] == dataset.fingerprint
    assert said["tables"]["train"] == {"read": 2, "written": 2, "skipped": {}, "examples": []}
    assert json.loads((tmp_path / "out" / "import.json").read_text(encoding="utf-8")) == said


def test_without_labels_their_ids_are_their_texts(tmp_path):
    write_lines(tmp_path / "train.jsonl", [{"text": "one", "labels": ["fruit", 7]}, {"text": "two", "labels": ["7"]}])
    write_lines(tmp_path / "test.jsonl", [{"text": "three", "labels": ["tools"]}])
    report = import_dataset(tmp_path, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == dataset.labels.texts == ["fruit", "7", "tools"]
    assert dataset.train.positives.label_rows.tolist() == [0, 1, 1]
    assert "there is no labels.jsonl, so the text of a label is its id" in report.notes
    assert report.tables["labels"].read == 3 and report.tables["train"].read == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x", "label": "a"}, "no key 'labels': it has"),
        ({"text": "x", "labels": "a"}, "'labels' must be a list of label ids: got str"),
        ("{", "not JSON"),
    ],
)
def test_without_labels_a_bad_row_stops_or_is_counted(tmp_path, row, reason):
    write_lines(tmp_path / "train.jsonl", [{"text": "one", "labels": ["a"]}, row])
    with pytest.raises(DataError) as caught:
        import_dataset(tmp_path, tmp_path / "out")
    assert f"train.jsonl:2: {reason}" in str(caught.value)
    report = import_dataset(tmp_path, tmp_path / "out", on_bad_row="skip")
    assert report.tables["train"].skipped.total() == 1 and report.tables["labels"].skipped.total() == 0


BAD_LABELS = [
    ("{", "not JSON"),
    ("[1]", "not a JSON object: list"),
    ("[" * 100_000, "not JSON"),
    ({"Text": "x"}, "no key 'id': it has Text"),
    ({}, "no key 'id': it has nothing"),
    ({"id": 1.5, "text": "x"}, "'id' must be a string or a whole number"),
    ({"id": "", "text": "x"}, "id is empty"),
    ({"id": "n", "label": "x"}, "no key 'text': it has id, label"),
    ({"id": "n", "text": None}, "'text' must be a string: got NoneType"),
    ({"id": "n", "text": " \t"}, "text is empty"),
    ({"id": "n", "text": "x" * 1_000_001}, "text is longer than 1,000,000 bytes"),
    ('{"id": "n", "text": "\\ud800"}', "lone surrogate in id or text"),
    ({"id": "7", "text": "x"}, "label id stands twice"),
]
BAD_QUERIES = [
    ({"id": "n", "text": "x", "label": "a"}, "no key 'labels': it has id, text, label"),
    ({"text": "x", "labels": ["a"]}, "no key 'id': it has text, labels"),
    ({"id": None, "text": "x", "labels": ["a"]}, "'id' must be a string or a whole number"),
    ({"id": "n", "text": "x", "labels": None}, "'labels' must be a list of label ids: got NoneType"),
    ({"id": "n", "text": "x", "labels": "a"}, "'labels' must be a list of label ids: got str"),
    ({"id": "n", "text": "x", "labels": [["a"]]}, "'labels' must be a list of label ids, strings or whole numbers"),
    ({"id": "n", "text": "x", "labels": []}, "query has no label"),
    ({"id": "n", "text": "", "labels": ["a"]}, "text is empty"),
    ({"id": "q1", "text": "x", "labels": ["a"]}, "query id stands twice"),
    ({"id": "n", "text": "x", "labels": ["a"], "relevance": [0]}, "relevance is not a finite number > 0"),
    ('{"id": "n", "text": "x", "labels": ["a"], "relevance": [NaN]}', "relevance is not a finite number > 0"),
    ({"id": "n", "text": "x", "labels": ["a"], "relevance": [10**400]}, "relevance is not a finite number > 0"),
    ({"id": "n", "text": "x", "labels": ["a"], "relevance": [1e-300]}, "relevance is not a finite number > 0"),
    (
        {"id": "n", "text": "x", "labels": ["a"], "relevance": [1, 2]},
        "'relevance' must be as long as 'labels': 2 and 1",
    ),
    ({"id": "n", "text": "x", "labels": ["a"], "relevance": ["1"]}, "'relevance' must be a list of numbers"),
]


@pytest.mark.parametrize(
    ("table", "bad", "reason"),
    [("labels", *case) for case in BAD_LABELS] + [("train", *case) for case in BAD_QUERIES],
)
def test_bad_row_stops_or_is_counted(tmp_path, table, bad, reason):
    good = {"labels": LABELS, "train": TRAIN}
    good[table] = [*good[table][:2], bad, *good[table][2:]]
    source = make_source(tmp_path / "source", good["labels"], good["train"])
    with pytest.raises(DataError) as caught:
        import_dataset(source, tmp_path / "out")
    assert str(caught.value).startswith(f"{source / table}.jsonl:3: {reason}")
    assert "--on-bad-row skip" in str(caught.value)
    assert not (tmp_path / "out").exists()
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    counts = report.tables[table]
    assert (counts.read, counts.written) == (len(good[table]), len(good[table]) - 1)
    assert counts.skipped == {reason.partition(":")[0]: 1}
    assert counts.examples[0].startswith(f"{source / table}.jsonl:3: ")
    make_source(tmp_path / "clean")
    clean = import_dataset(tmp_path / "clean", tmp_path / "clean_out")
    assert report.fingerprint == clean.fingerprint == load_dataset(tmp_path / "out").fingerprint


def test_queries_of_a_file_without_ids_are_called_by_their_lines(tmp_path):
    source = make_source(tmp_path / "source", train=["", *({**row, "id": None} for row in TRAIN[:1]), "x", *TRAIN[1:]])
    with pytest.raises(DataError, match=r"train\.jsonl:2: 'id' must be"):
        import_dataset(source, tmp_path / "out")  # one has an id
    without = [{key: value for key, value in row.items() if key != "id"} for row in TRAIN]
    for own_labels in (True, False):
        write_lines(source / "train.jsonl", [*without, {"text": "x", "label": "a"}])
        with pytest.raises(DataError, match=r"train\.jsonl:3: no key 'labels': it has text, label\."):
            import_dataset(source, tmp_path / "out")
        if own_labels:
            (source / "labels.jsonl").rename(source / "aside")
    (source / "aside").rename(source / "labels.jsonl")
    write_lines(source / "train.jsonl", ["", *without])
    write_lines(source / "test.jsonl", TEST)
    report = import_dataset(source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert (dataset.train.ids, dataset.test.ids) == (["train-000002", "train-000003"], ["q1"])
    assert report.notes == ("train: no query has an id, so they are called by their lines: train-000001 and so on",)


def test_what_stands_twice_is_counted_and_told(tmp_path):
    labels = [*LABELS, {"id": "b", "text": " anton "}, {"id": "c", "text": "ANTON"}, {"id": 8, "text": "Seven"}]
    train = [{"id": f"n{row}", "text": text, "labels": ["a"]} for row, text in enumerate(["One two", "three", "four"])]
    test = [{"id": f"n{row}", "text": text, "labels": ["a"]} for row, text in enumerate(["one\ttwo ", "five"], start=2)]
    source = make_source(tmp_path / "source", labels, train)
    write_lines(source / "dev.jsonl", train[1:2])
    write_lines(source / "test.jsonl", test)
    shared = import_dataset(source, tmp_path / "out").shared
    assert shared.to_dict() == {
        "queries": [
            {"split": "dev", "other": "train", "queries": 1, "texts": 1, "ids": 1},
            {"split": "test", "other": "train", "queries": 2, "texts": 1, "ids": 1},
        ],
        "labels": 5,
        "apart": {},
    }
    learnt = "1 have the text of one in train, 1 the id: a model has learnt these before it is judged by them"
    assert shared.sentences() == [
        f"of 1 query of dev, {learnt}",
        f"of 2 queries of test, {learnt}",
        "5 labels have the text of another label: only their queries tell them apart",
    ]
    make_source(source)
    (source / "dev.jsonl").unlink()
    write_lines(source / "test.jsonl", TEST)
    assert import_dataset(source, tmp_path / "out", overwrite=True).shared.sentences() == [
        "of 1 query of test, 0 have the text of one in train, 1 the id"  # of which alone nothing follows
    ]


def test_rows_that_are_pairs_of_text_and_label_are_told(tmp_path):
    labels = [{"id": each, "text": each} for each in "abc"]
    pairs = [("One two", ["a"]), ("one  two", ["b"]), ("three", ["a", "c"]), ("three", ["c", "a"]), ("one two", ["b"])]
    train = [{"id": f"n{row}", "text": text, "labels": names} for row, (text, names) in enumerate(pairs)]
    shared = import_dataset(make_source(tmp_path / "source", labels, train), tmp_path / "out").shared
    assert shared.to_dict()["apart"] == {"train": 3}
    (said,) = shared.sentences()
    assert said.startswith("3 queries of train have the text of another one and other labels: if each row is a pair")


def test_unknown_label_ids_are_counted(tmp_path):
    train = [
        *TRAIN,
        {"id": "n", "text": "x", "labels": ["gone", "a"]},
        {"id": "m", "text": "x", "labels": ["gone", "z"]},
    ]
    source = make_source(tmp_path / "source", train=train)
    with pytest.raises(DataError, match=r"train\.jsonl:3: unknown label id 'gone'"):
        import_dataset(source, tmp_path / "out")
    said = import_dataset(source, tmp_path / "out", on_bad_row="skip").to_dict()
    assert said["unknown_label_ids"] == {"ids": 2, "positives": 3, "most_frequent": {"gone": 2, "z": 1}}
    assert said["tables"]["train"]["skipped"] == {"query has no known label": 1}
    assert load_dataset(tmp_path / "out").train.ids == ["q1", "2", "n"]


def test_bytes_that_are_not_utf8(tmp_path):
    source = make_source(tmp_path / "source")
    lines = (source / "train.jsonl").read_bytes().splitlines(keepends=True)
    (source / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + lines[0] + b'{"id": "n\xff"}\n' + lines[1])
    with pytest.raises(DataError, match=r"train\.jsonl:2: not UTF-8: byte 0xff at 9"):
        import_dataset(source, tmp_path / "out")
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    assert report.tables["train"].skipped == {"not UTF-8": 1}
    assert (report.tables["train"].read, report.tables["train"].written) == (3, 2)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_truncated_compression_is_refused(tmp_path, suffix):
    train = [{"id": f"n{number}", "text": "x", "labels": ["a"]} for number in range(99)]
    source = make_source(tmp_path / "source", train=train, suffix=suffix)
    path = source / f"train.jsonl{suffix}"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train\.jsonl\.\w+ cannot be read"):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"train\.jsonl\.\w+ cannot be read"):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")


def test_missing_files(tmp_path):
    source = make_source(tmp_path / "source")
    (source / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no train split: expected train\.jsonl and, .*holds labels\.jsonl"):
        import_dataset(source, tmp_path / "out")
    (source / "labels.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no train split: expected train\.jsonl"):
        import_dataset(source, tmp_path / "out", format="jsonl")


def test_same_file_plain_and_compressed(tmp_path):
    source = make_source(make_source(tmp_path / "source"), suffix=".gz")
    with pytest.raises(DataError, match=r"holds labels\.jsonl and labels\.jsonl\.gz"):
        import_dataset(source, tmp_path / "out")


def test_nothing_usable(tmp_path):
    source = make_source(tmp_path / "source", train=["x", "{}"])
    with pytest.raises(DataError, match=r"the split 'train' has no usable query. .*train\.jsonl:1: not JSON"):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")
    source = make_source(tmp_path / "source")
    write_lines(source / "dev.jsonl", ["x"])
    with pytest.raises(DataError, match=r"'dev' has no usable query\. Mend its rows, or .*dev\.jsonl:1: not JSON"):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")
    source = make_source(tmp_path / "source", labels=[])
    with pytest.raises(DataError, match="no usable label"):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        ({"text": "one", "tags": ["a"]}, r"'text', 'tags'"),
        ({"text": "one", "labels": [{"id": "a"}]}, r"'labels': \[\{'id': 'a'\}\]"),
        ({"text": "one", "labels": []}, r"'labels': \[\]"),
    ],
)
def test_lines_without_any_label_say_where_it_was_looked_for(tmp_path, row, shown):
    source = make_source(tmp_path / "source", train=[row, row])
    (source / "labels.jsonl").unlink()
    with pytest.raises(DataError, match=rf"no line of .*looked for in the list 'labels', and .*:1 has {shown}\."):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["a", "7"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
ROW = st.fixed_dictionaries({}, optional={"id": JSON, "text": JSON, "labels": JSON, "relevance": JSON})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW | JSON, max_size=4), junk=st.binary(max_size=20))
def test_any_rows_are_imported_or_counted(tmp_path, rows, junk):
    source = make_source(tmp_path / "source", train=[*TRAIN, *rows])
    with (source / "train.jsonl").open("ab") as file:
        file.write(junk)
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip", overwrite=True)
    counts = report.tables["train"]
    blank = sum(isinstance(row, str) and not row.strip() for row in rows)  # as a line: no row at all
    assert counts.read == counts.written + counts.skipped.total() >= 2 + len(rows) - blank
    dataset = load_dataset(tmp_path / "out")
    assert len(dataset.train) == counts.written
    assert dataset.notes == ()


def test_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 1 << 20)
    source = make_source(tmp_path / "source", train=[*TRAIN, " " * (1 << 20)])
    with pytest.raises(DataError, match=r"train\.jsonl:3: the line is longer than 1 MiB"):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")
