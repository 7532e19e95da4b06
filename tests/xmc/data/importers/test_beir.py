"""The BEIR layout: judgements join queries and documents; what is not relevant or not judged is said."""

import json

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.errors import DataError

CORPUS = [{"_id": "d1", "title": "One", "text": "first"}, {"_id": "d2", "title": "", "text": "second"}]
QUERIES = [{"_id": f"q{n}", "text": f"query {n}"} for n in range(1, 6)]
HEADER = "query-id\tcorpus-id\tscore\n"
TRAIN = f"{HEADER}q2\td2\t2\n\nq1\td1\t1\nq2\td1\t1\nq2\td2\t0\nq4\td1\t0\n"


def make_source(folder, corpus=CORPUS, queries=QUERIES, train=TRAIN):
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "train.tsv").write_text(train)
    (folder / "qrels" / "test.tsv").write_text(f"{HEADER}q3\td2\t1\n")
    return folder


def test_import(tmp_path):
    report = import_dataset(make_source(tmp_path / "source"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert report.format == "beir"
    assert (dataset.labels.ids, dataset.labels.texts) == (["d1", "d2"], ["One first", "second"])
    assert (dataset.train.ids, dataset.train.texts) == (["q2", "q1"], ["query 2", "query 1"])
    assert dataset.train.positives.offsets.tolist() == [0, 2, 3]
    assert dataset.train.positives.label_rows.tolist() == [0, 1, 0]
    assert dataset.train.positives.weights.tolist() == [1.0, 2.0, 1.0]
    assert dataset.test.ids == ["q3"]
    assert report.notes == (
        "train: 2 judgements of 0 or below mean not relevant",
        "train: 1 query has no relevant label and is left out",
        "1 query has no judgement in any split and is left out",
    )
    assert {name: (table.read, table.written) for name, table in report.tables.items()} == {
        "labels": (2, 2),
        "queries": (5, 5),
        "train judgements": (5, 5),
        "train": (2, 2),
        "test judgements": (1, 1),
        "test": (1, 1),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": TRAIN + "q1\td1\n"}, r"train\.tsv:8: not `query-id<TAB>corpus-id<TAB>score`"),
        ({"train": TRAIN + "q1\td1\tnan\n"}, r"train\.tsv:8: not `query-id<TAB>corpus-id<TAB>score`"),
        ({"train": TRAIN + "q9\td1\t1\n"}, r"train\.tsv:8: unknown query id: 'q9'"),
        ({"train": TRAIN + "q1\td9\t1\n"}, r"train\.tsv:8: unknown label id 'd9'"),
        (
            {"corpus": [*CORPUS, {"_id": "d3", "title": 3, "text": ""}]},
            r"corpus\.jsonl:3: '_id' must be an id, 'title'",
        ),
        ({"corpus": [*CORPUS, {"_id": "d3"}]}, r"corpus\.jsonl:3: no key 'text': it has _id"),
        ({"queries": [*QUERIES, {"_id": "q1", "text": "x"}]}, r"queries\.jsonl:6: query id stands twice: 'q1'"),
        ({"queries": [*QUERIES, {"text": "x"}]}, r"queries\.jsonl:6: no key '_id': it has text"),
        (
            {"queries": [*QUERIES, {"_id": 1.5, "text": "x"}]},
            r"queries\.jsonl:6: '_id' must be an id and 'text' a string",
        ),
    ],
)
def test_bad_rows(tmp_path, change, message):
    source = make_source(tmp_path / "source", **change)
    with pytest.raises(DataError, match=message):
        import_dataset(source, tmp_path / "out")
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    skipped = sum(table.skipped.total() for table in report.tables.values())
    assert skipped + report.unknown_label_ids.total() == 1
    assert load_dataset(tmp_path / "out").train.ids == ["q2", "q1"]


@pytest.mark.parametrize(("path", "what"), [("queries.jsonl", "queries"), ("qrels/train.tsv", "train judgements")])
def test_missing_file(tmp_path, path, what):
    source = make_source(tmp_path / "source")
    (source / path).unlink()
    with pytest.raises(DataError, match=f"has no {what}: expected"):
        import_dataset(source, tmp_path / "out")
