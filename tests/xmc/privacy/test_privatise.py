"""Invariants: the folder is a data set with a receipt whose numbers hold; nothing private leaves by another way; what
would not be private, or cannot work, is refused before anything is written."""

import json

import numpy as np
import pytest

from xmc.data.dataset import load_dataset
from xmc.errors import ConfigError
from xmc.privacy.privatise import privatise
from xmc.store import verify_folder

SETTINGS = {"epsilon": "1", "bag_size": 4}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    out = tmp_path_factory.mktemp("released") / "private"
    privatise("tiny", out, **SETTINGS)
    return out


def test_it_is_a_data_set_of_whole_bags(released):
    source, data = load_dataset("tiny"), load_dataset(released)
    assert set(data.splits) == {"train"} and data.labels == source.labels
    assert set(data.train.ids) <= set(source.train.ids) and len(data.train) >= 396  # a bag may have no label left
    assert (np.unique(data.train.bag_ids, return_counts=True)[1] == 4).all()
    assert set(verify_folder(released, kind="private-data").files) == {
        "labels.parquet",
        "train.parquet",
        "privacy.json",
    }


def test_the_receipt_says_what_holds(released):
    receipt = json.loads((released / "privacy.json").read_text(encoding="utf-8"))
    assert receipt["epsilon"] == "1" and receipt["bag_size"] == 4 and receipt["labels_counted_per_query"] == 1
    assert (receipt["queries"], receipt["bags"], receipt["labels"]) == (400, 100, 60)
    assert receipt["sensitivity_of_counts"] == 2
    assert receipt["noise_scale_of_counts"] == "2" and receipt["noise_scale_of_means"] == "1/2"
    assert receipt["noise_standard_deviation_of_counts"] == pytest.approx(2.799, abs=1e-3)
    assert any("user-level" in each for each in receipt["not_promised"])
    assert receipt["released_with_row_labels"] == []


def test_no_number_depends_on_the_labels(tmp_path, released):
    """Two receipts of data that differ in every label: the same text."""
    again = tmp_path / "again"
    privatise("tiny", again, **SETTINGS)
    assert (again / "privacy.json").read_bytes() == (released / "privacy.json").read_bytes()
    assert load_dataset("tiny").fingerprint not in (released / "privacy.json").read_text(encoding="utf-8")


def test_public_splits_and_groups(tmp_path):
    receipt = privatise("tiny", tmp_path / "a", **SETTINGS, group_prefix=2, public="test")
    data = load_dataset(tmp_path / "a")
    assert data.test.ids == load_dataset("tiny").test.ids and data.test.bag_ids is None
    assert {len(label_id) for label_id in data.labels.ids} == {2} and receipt["labels"] == len(data.labels) < 60
    assert receipt["released_with_row_labels"] == ["test"] and receipt["labels_joined_by_prefix"] == 2


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("tiny", {"epsilon": "0"}, "--epsilon must be a number > 0 and below 1e30, got '0'"),
        ("tiny", {"epsilon": "1e99999999"}, "below 1e30, got '1e99999999'"),
        ("tiny", {"epsilon": "much"}, "got 'much'"),
        ("tiny", {"epsilon": "inf"}, "got 'inf'"),
        ("tiny", {"epsilon": "1/0"}, "got '1/0'"),
        ("tiny", {"epsilon": "0.12345678901234"}, "fewer digits"),
        ("tiny", {"bag_size": 0}, "--bag-size must be >= 1, got 0"),
        ("tiny", {"bag_size": 401}, "more than the 400 training queries"),
        ("tiny", {"clip": 0}, "--clip must be >= 1"),
        ("tiny", {"threshold": -1}, "--threshold must be >= 0"),
        ("tiny", {"threshold": 30, "epsilon": "100"}, "there is nothing to train on: a label that all"),
        ("tiny", {"group_prefix": -1}, "--group-prefix must be >= 0"),
        ("tiny", {"public": ["train"]}, "--public 'train' is not one of"),
        ("icd10cm", {}, "would tell which do"),
    ],
)
def test_refusals_leave_nothing(tmp_path, data, options, said):
    with pytest.raises(ConfigError) as caught:
        privatise(data, tmp_path / "out", **{**SETTINGS, **options})
    assert said in f"{caught.value} {caught.value.hint}"
    assert list(tmp_path.iterdir()) == []


def test_bags_are_not_released_again_nor_over_something(tmp_path, released):
    with pytest.raises(ConfigError, match="labels of bags already"):
        privatise(released, tmp_path / "out", **SETTINGS)
    with pytest.raises(ConfigError, match="not empty"):
        privatise("tiny", released, **SETTINGS)
