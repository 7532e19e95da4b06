"""Sparse text of the Extreme Classification Repository, against what stands in the files."""

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.errors import DataError

TRAIN = "3 4 3\n0,2 0:0.5 3:1.0\n1 2:0.1 2:0.3\n2,0 1:1\n"
TEST = "1 4 3\n1 3:1 0:2\n"


def make_source(folder, train=TRAIN, **files):
    folder.mkdir(exist_ok=True)
    (folder / "tiny_train.txt").write_text(train)
    (folder / "tiny_test.txt").write_text(TEST)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_without_names(tmp_path):
    report = import_dataset(make_source(tmp_path / "source"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert report.format == "xmc"
    assert dataset.labels.ids == ["0", "1", "2"]
    assert dataset.labels.texts == ["label 0", "label 1", "label 2"]
    assert dataset.train.ids == ["train-0", "train-1", "train-2"]
    assert dataset.train.texts == ["f0 f3", "f2", "f1"]
    assert dataset.train.positives.label_rows.tolist() == [0, 2, 1, 0, 2]
    assert dataset.test.texts == ["f3 f0"]
    assert report.notes == ("there is no file of feature names: query texts are feature numbers",)


def test_with_names(tmp_path):
    source = make_source(tmp_path / "source", feature_names="red\ngreen\nblue\nred\n", labels="A\nB\nC\n")
    import_dataset(source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.texts == ["A", "B", "C"]
    assert dataset.train.texts == ["red", "blue", "green"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 4:1", "not `feature:value` with a feature below 4: '4:1'"),
        ("0 x:1", "not `feature:value` with a feature below 4"),
        ("0 1", "not `feature:value` with a feature below 4"),
        (" 1:1", "query has no label"),
        ("1:1 2:1", "query has no label"),
        ("0", "text is empty"),
        ("3 1:1", "unknown label id '3'"),
        ("x 1:1", "unknown label id 'x'"),
    ],
)
def test_bad_point(tmp_path, line, reason):
    source = make_source(tmp_path / "source", train=f"2 4 3\n0 1:1\n{line}\n")
    with pytest.raises(DataError) as caught:
        import_dataset(source, tmp_path / "out")
    assert str(caught.value).startswith(f"{source}/tiny_train.txt:3: {reason}")
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    assert (report.tables["train"].read, report.tables["train"].written) == (2, 1)
    assert report.tables["train"].skipped.total() == 1


def test_a_last_point_that_is_not_utf_8_is_skipped(tmp_path):
    source = make_source(tmp_path / "source")
    (source / "tiny_train.txt").write_bytes(b"2 4 3\n0 1:1\n1 \xff:1\n")
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    assert (report.tables["train"].read, report.tables["train"].written) == (2, 1)
    assert report.tables["train"].skipped == {"not UTF-8": 1}


@pytest.mark.parametrize("train", [TRAIN.replace("3 4 3", "4 4 3"), TRAIN.replace("3 4 3", "2 4 3")])
def test_other_number_of_points_than_the_header_says(tmp_path, train):
    with pytest.raises(DataError, match=r"tiny_train\.txt has 3 points, its header says [24]"):
        import_dataset(make_source(tmp_path / "source", train=train), tmp_path / "out", on_bad_row="skip")


def test_other_number_of_names(tmp_path):
    with pytest.raises(DataError, match=r"labels\.txt has 2 names, the header says 3"):
        import_dataset(make_source(tmp_path / "source", labels="A\nB\n"), tmp_path / "out")


def test_headers_that_differ(tmp_path):
    source = make_source(tmp_path / "source", train="1 4 2\n0 1:1\n")
    with pytest.raises(DataError, match=r"tiny_train\.txt: 2, tiny_test\.txt: 3"):
        import_dataset(source, tmp_path / "out")


def test_two_train_files(tmp_path):
    source = make_source(tmp_path / "source", other_train=TRAIN)
    with pytest.raises(DataError, match=r"holds other_train\.txt and tiny_train\.txt"):
        import_dataset(source, tmp_path / "out")


def test_file_without_header_is_not_this_format(tmp_path):
    source = make_source(tmp_path / "source", train="0 1:1\n")
    with pytest.raises(DataError, match="in no known format"):
        import_dataset(source, tmp_path / "out")
    with pytest.raises(DataError, match="has no train split"):
        import_dataset(source, tmp_path / "out", format="xmc")


def test_test_points_of_features_that_have_no_name_are_refused(tmp_path):
    source = make_source(tmp_path / "source", features="red\ngreen\nblue\nred\n")
    (source / "tiny_test.txt").write_text("1 6 3\n1 5:1\n")
    with pytest.raises(
        DataError, match=r"differ in their number of features \(tiny_train\.txt: 4, tiny_test\.txt: 6\)"
    ):
        import_dataset(source, tmp_path / "out", on_bad_row="skip")
