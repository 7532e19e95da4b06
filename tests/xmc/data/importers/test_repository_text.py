"""Raw-text layouts of the Extreme Classification Repository: lines joined by row number, and JSON."""

import gzip
import json

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.errors import DataError


def make_lines(folder, **changed):
    files = {
        "Y": "Anton\nBerta\nCäsar\n",
        "trn_X": "one\ntwo\nthree\n",
        "trn_X_Y": "3 3\n0:1.0 2:0.5\n1:1\n2:1.0\n",
        "tst_X": "four\n",
        "tst_X_Y": "1 3\n1:1.0\n",
        **changed,
    }
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_lines(tmp_path):
    source = make_lines(tmp_path / "source", filter_labels_test="0 1\n")
    report = import_dataset(source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == ["0", "1", "2"]
    assert dataset.labels.texts == ["Anton", "Berta", "Cäsar"]
    assert dataset.train.texts == ["one", "two", "three"]
    assert dataset.train.ids == ["train-0", "train-1", "train-2"]
    assert dataset.train.positives.label_rows.tolist() == [0, 2, 1, 2]
    assert dataset.train.positives.weights.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert dataset.test.texts == ["four"]
    assert len(report.notes) == 1
    assert report.notes[0].startswith("filter_labels_test.txt is not imported")


def test_rows_stay_aligned_past_bad_ones(tmp_path):
    source = make_lines(
        tmp_path / "source",
        Y="Anton\n\nCäsar\n",
        trn_X=b"one\n\xff\nthree\nfour\n",
        trn_X_Y="4 3\n0:1 1:1\n0:1\nx\n2:1\n",
        tst_X_Y="1 3\n2:1.0\n",
    )
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == ["0", "2"]
    assert dataset.train.ids == ["train-0", "train-3"]
    assert dataset.train.texts == ["one", "four"]
    assert dataset.train.positives.label_rows.tolist() == [0, 1]
    assert report.tables["train"].skipped == {"not UTF-8": 1, "not `label:value` pairs": 1}
    assert report.tables["train"].read == 4
    assert report.unknown_label_ids == {"1": 1}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"trn_X": b"one\ntwo\n\xff"}, "not UTF-8"),
        ({"trn_X_Y": b"3 3\n0:1\n1:1\n\xff\n"}, "not UTF-8"),
        ({"trn_X_Y": "3 3\n0:1\n1:1\nx\n"}, "not `label:value` pairs"),
        ({"trn_X": b"one\ntwo\n\xff", "trn_X_Y": "3 3\n0:1\n1:1\nx\n"}, "not UTF-8"),
    ],
)
def test_a_bad_last_row_is_skipped_as_any_other(tmp_path, changed, reason):
    report = import_dataset(make_lines(tmp_path / "source", **changed), tmp_path / "out", on_bad_row="skip")
    assert load_dataset(tmp_path / "out").train.texts == ["one", "two"]
    assert report.tables["train"].skipped == {reason: 1} and report.tables["train"].read == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trn_X": "one\ntwo\n"}, r"trn_X\.txt and trn_X_Y\.txt differ in their number of rows"),
        ({"trn_X": "one\ntwo\nthree\nfour\n"}, r"trn_X\.txt and trn_X_Y\.txt differ in their number of rows"),
        ({"trn_X_Y": "4 3\n0:1\n1:1\n2:1\n"}, r"trn_X_Y\.txt has 3 rows, its header says 4"),
        ({"Y": "Anton\nBerta\n"}, r"Y\.txt has 2 labels, the header of trn_X_Y\.txt says 3\. Is the file complete"),
        ({"tst_X_Y": "1 4\n1:1\n"}, r"Y\.txt has 3 labels, the header of tst_X_Y\.txt says 4"),
        ({"trn_X_Y": ""}, r"trn_X_Y\.txt:1: '' is not a header"),
        ({"trn_X_Y": "0:1\n1:1\n2:1\n"}, r"trn_X_Y\.txt:1: '0:1' is not a header `rows columns`"),
        ({"trn_X_Y": "3 3\n0:1\n1:0\n2:1\n"}, r"trn_X\.txt:2: relevance is not a finite number > 0: 0\.0"),
        ({"trn_X_Y": "3 3\n0:1\n1:1\n3:1\n"}, r"trn_X\.txt:3: unknown label id '3'"),
    ],
)
def test_files_that_do_not_fit(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        import_dataset(make_lines(tmp_path / "source", **changed), tmp_path / "out")


@pytest.mark.parametrize("missing", ["Y", "trn_X_Y"])
def test_missing_file(tmp_path, missing):
    source = make_lines(tmp_path / "source")
    (source / f"{missing}.txt").unlink()
    with pytest.raises(DataError, match=r"has no (labels|train split): expected"):
        import_dataset(source, tmp_path / "out", format="xmc")


def test_json(tmp_path):
    files = {
        "lbl": [{"uid": "B1", "title": "Anton", "content": ""}, {"uid": "B2", "title": "Berta", "content": " b b "}],
        "trn": [{"uid": "A1", "title": "one", "content": "", "target_ind": [1, 0], "target_rel": [1.0, 0.5]}],
        "tst": [{"uid": "A2", "title": "two", "target_ind": [1]}],
    }
    for name, rows in files.items():
        with gzip.open(tmp_path / f"{name}.json.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    import_dataset(tmp_path, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.texts == ["Anton", "Berta b b"]
    assert (dataset.train.ids, dataset.test.ids) == (["A1"], ["A2"])
    assert dataset.train.positives.label_rows.tolist() == [0, 1]
    assert dataset.train.positives.weights.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"title": "t", "target_ind": [0]}, "no key 'uid': it has title, target_ind"),
        ({"uid": "x", "title": "t"}, "no key 'target_ind': it has uid, title"),
        ({"uid": None, "title": "t", "target_ind": [0]}, "'uid' must be"),
        ({"uid": "x", "title": "t", "target_ind": [True]}, "'target_ind' must be a list of label row numbers"),
        ({"uid": "x", "title": "t", "target_ind": [0], "target_rel": []}, "'target_rel' must be a list of numbers"),
        ({"uid": "x", "title": 3, "target_ind": [0]}, "text is empty"),
        ({"uid": "x", "title": "t", "target_ind": [-1]}, "unknown label id '-1'"),
    ],
)
def test_bad_json_row(tmp_path, row, reason):
    (tmp_path / "lbl.json").write_text('{"uid": "B1", "title": "Anton"}\n')
    (tmp_path / "trn.json").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=rf"trn\.json:1: {reason}"):
        import_dataset(tmp_path, tmp_path / "out")


def test_an_empty_line_among_labels_moves_none(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "lbl.json").write_text('{"title": "Anton"}\n\n{"title": "Berta"}\n{"title": "Caesar"}\n')
    (tmp_path / "source" / "trn.json").write_text('{"uid": "q", "title": "one", "target_ind": [2, 0]}\n')
    import_dataset(tmp_path / "source", tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert [dataset.labels.texts[row] for row in dataset.train.positives.label_rows] == ["Anton", "Caesar"]
