"""Saved Hugging Face data sets: label ids, class labels, labels beside the splits; clear words when it cannot be."""

import builtins
import json

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.errors import DataError

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TRAIN = {"id": ["a", "b"], "text": ["one", "two"], "labels": [["x", "y"], ["y"]]}
LABELS = {"id": ["x", "y"], "text": ["ex", "why"]}


def save(folder, **splits):
    made = {
        name: rows if hasattr(rows, "features") else datasets.Dataset.from_dict(rows) for name, rows in splits.items()
    }
    datasets.DatasetDict(made).save_to_disk(str(folder))
    return folder


def test_labels_as_a_split(tmp_path):
    source = save(tmp_path / "source", train=TRAIN, validation=TRAIN, extra=TRAIN, labels=LABELS)
    report = import_dataset(source, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert report.format == "huggingface"
    assert dataset.labels.texts == ["ex", "why"]
    assert dataset.train.ids == dataset.dev.ids == ["a", "b"]
    assert dataset.train.positives.label_rows.tolist() == [0, 1, 1]
    assert report.notes == ("the split 'extra' is none of train, dev, test and is not imported",)


def test_labels_in_a_file_or_folder_beside(tmp_path):
    source = save(tmp_path / "source", train=TRAIN)
    with pytest.raises(DataError, match="has no labels: expected splits train"):
        import_dataset(source, tmp_path / "out")
    datasets.Dataset.from_dict(LABELS).save_to_disk(str(source / "labels"))
    folder = import_dataset(source, tmp_path / "out")
    rows = [{"id": label_id, "text": text} for label_id, text in zip(LABELS["id"], LABELS["text"], strict=True)]
    (source / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert import_dataset(source, tmp_path / "again").fingerprint == folder.fingerprint


def test_class_labels_without_ids(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=["cat", "dog"]))}
    )
    rows = datasets.Dataset.from_dict({"text": ["miaow", "both"], "labels": [[0], [1, 0]]}, features=features)
    import_dataset(save(tmp_path / "source", train=rows), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.texts == ["cat", "dog"]
    assert (dataset.train.ids, dataset.train.texts) == (["train-0", "train-1"], ["miaow", "both"])
    assert dataset.train.positives.label_rows.tolist() == [0, 0, 1]


def test_bad_rows(tmp_path):
    train = {"id": ["a", "b", "c"], "text": ["one", None, "x"], "labels": [["x"], ["y"], None]}
    source = save(tmp_path / "source", train=train, labels=LABELS)
    with pytest.raises(DataError, match=r"source/train:2: 'text' must be a string: got NoneType"):
        import_dataset(source, tmp_path / "out")
    report = import_dataset(source, tmp_path / "out", on_bad_row="skip")
    assert report.tables["train"].skipped == {
        "'text' must be a string": 1,
        "'labels' must be a list of label ids": 1,
    }


def test_no_train_split_and_two_dev_splits(tmp_path):
    with pytest.raises(DataError, match=r"has no train split.*it has test"):
        import_dataset(save(tmp_path / "one", test=TRAIN), tmp_path / "out")
    with pytest.raises(DataError, match="has splits dev and validation"):
        import_dataset(save(tmp_path / "two", train=TRAIN, dev=TRAIN, validation=TRAIN), tmp_path / "out")


def test_damaged_folder(tmp_path):
    source = save(tmp_path / "source", train=TRAIN, labels=LABELS)
    for path in (source / "train").glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match="cannot be opened by `datasets`"):
        import_dataset(source, tmp_path / "out")


def test_without_the_library(tmp_path, monkeypatch):
    source = save(tmp_path / "source", train=TRAIN, labels=LABELS)
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"needs the package `datasets`.*xmc-engine\[datasets\]"):
        import_dataset(source, tmp_path / "out")


def test_a_single_saved_table_is_not_a_data_set(tmp_path):
    datasets.Dataset.from_dict(TRAIN).save_to_disk(str(tmp_path / "source"))
    with pytest.raises(DataError, match="has no splits: expected splits train"):
        import_dataset(tmp_path / "source", tmp_path / "out", format="huggingface")


def test_class_number_out_of_range_is_an_unknown_label(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=["cat", "dog"]))}
    )
    rows = datasets.Dataset.from_dict({"text": ["x"], "labels": [[-1, 0]]}, features=features)
    with pytest.raises(DataError, match="source/train:1: unknown label id '-1'"):
        import_dataset(save(tmp_path / "source", train=rows), tmp_path / "out")
