"""Loading finds the tables in each layout, refuses what is unclear, and fingerprints content, not files."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.dataset import Dataset, load_dataset, split_off_dev, take_train
from xmc.data.fingerprint import fingerprint_of
from xmc.data.named import NAMES, named_folder
from xmc.data.shards import write_table
from xmc.data.tables import QueryTable, label_table_to_arrow, query_table_to_arrow
from xmc.errors import DataError

TINY = load_dataset("tiny")


def write_folder(folder, dataset, suffix=".parquet"):
    folder.mkdir(exist_ok=True)
    write_table(folder / f"labels{suffix}", label_table_to_arrow(dataset.labels))
    for split, queries in dataset.splits.items():
        write_table(folder / f"{split}{suffix}", query_table_to_arrow(queries))
    return folder


def test_fingerprint_does_not_depend_on_the_files(tmp_path):
    arrow = load_dataset(write_folder(tmp_path / "arrow", TINY, ".arrow"))
    sharded = write_folder(tmp_path / "sharded", TINY)
    table = pq.read_table(sharded / "train.parquet").replace_schema_metadata(None)
    (sharded / "train.parquet").unlink()
    (sharded / "train").mkdir()
    for number in range(11):  # natural order: part-10 after part-9
        pq.write_table(table.slice(number * 40, 40), sharded / "train" / f"part-{number}.parquet", compression="none")
    label_ids = pa.array([[TINY.labels.ids[row] for row in rows] for rows in table.column("positives").to_pylist()])
    by_id = write_folder(tmp_path / "by_id", TINY)
    pq.write_table(table.set_column(2, "positives", label_ids), by_id / "train.parquet")
    for other in (arrow, load_dataset(sharded), load_dataset(str(by_id))):
        assert other.fingerprint == TINY.fingerprint
    assert (arrow.name, TINY.name) == ("arrow", "tiny")


@pytest.mark.parametrize("change", ["text", "id", "positive", "weight", "split", "label"])
def test_fingerprint_changes_with_the_content(change):
    train, splits, labels = TINY.train, dict(TINY.splits), TINY.labels
    rows, weights = train.positives.label_rows.copy(), train.positives.weights.copy()
    rows[0] += 1
    weights[5] = 2
    changed = {
        "text": lambda: splits.update(train=replace(train, texts=[train.texts[0] + " ", *train.texts[1:]])),
        "id": lambda: splits.update(train=replace(train, ids=["other", *train.ids[1:]])),
        "positive": lambda: splits.update(train=replace(train, positives=replace(train.positives, label_rows=rows))),
        "weight": lambda: splits.update(train=replace(train, positives=replace(train.positives, weights=weights))),
        "split": lambda: splits.pop("dev"),
    }
    if change == "label":
        labels = replace(labels, texts=["changed", *labels.texts[1:]])
    else:
        changed[change]()
    assert fingerprint_of(labels, splits) != fingerprint_of(TINY.labels, TINY.splits) == TINY.fingerprint


@pytest.mark.parametrize("name", ["tinny", "no/such/folder"])
def test_unknown_data_set_lists_names_and_files(name):
    with pytest.raises(
        DataError, match=r"shipped are icd10cm, tiny, .* no folder .*; one holds labels\.parquet, train\.parquet"
    ):
        load_dataset(name)


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(DataError, match="Did you mean 'tiny'"):
        load_dataset("tinny")


def test_missing_and_ambiguous_tables(tmp_path):
    folder = write_folder(tmp_path / "data", replace(TINY, splits={"train": TINY.train}))
    assert load_dataset(folder).dev is None
    assert load_dataset(folder).test is None
    (folder / "train").mkdir()
    with pytest.raises(DataError, match=r"holds train\.parquet and train: which is the table 'train'"):
        load_dataset(folder)
    (folder / "train").rmdir()
    (folder / "train.parquet").unlink()
    with pytest.raises(DataError, match=r"has no train\.parquet, train\.arrow or folder train/\. .*xmc import"):
        load_dataset(folder)


def test_a_run_in_place_of_a_data_set_is_told(tmp_path):
    (tmp_path / "config.toml").touch()
    with pytest.raises(DataError, match=r"has no labels\.parquet, .* It looks like a run\. Name the data that it was"):
        load_dataset(tmp_path)


def test_queries_that_all_have_one_label_are_told(tmp_path):
    rows = np.flatnonzero(np.diff(TINY.train.positives.offsets) == 1)
    first = TINY.train.positives.take(rows).label_rows
    for chosen, is_told in ((rows[first == first[0]], True), (rows, False)):
        folder = write_folder(tmp_path / f"{is_told}", replace(TINY, splits={"train": TINY.train.take(chosen)}))
        said = f"every training query has the label '{TINY.labels.ids[first[0]]}' and no other: there is nothing to"
        assert [note.startswith(said) for note in load_dataset(folder).notes] == [True] * is_told


def test_notes_of_all_splits_and_an_empty_split(tmp_path):
    folder = write_folder(tmp_path / "data", TINY)
    table = {"query_id": ["x", "y"], "text": ["t", ""], "positives": [[0], [1]]}
    pq.write_table(pa.table(table), folder / "test.parquet")
    assert load_dataset(folder).notes == ("test: 1 of 2 queries are without text and are left out",)
    pq.write_table(pa.table({**table, "text": ["", ""]}), folder / "test.parquet")
    with pytest.raises(DataError, match="'test' has no query with text and positives"):
        load_dataset(folder)


def test_folder_beside_a_shipped_name(tmp_path, monkeypatch):
    write_folder(tmp_path / "tiny", replace(TINY, splits={"train": TINY.train}))
    monkeypatch.chdir(tmp_path)
    assert load_dataset("tiny").dev is not None
    assert load_dataset("./tiny").dev is None


def test_truncated_shipped_file_is_named(tmp_path):
    folder = write_folder(tmp_path / "data", TINY)
    whole = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train\.parquet cannot be read"):
        load_dataset(folder)


def test_train_counts():
    wanted = [0] * len(TINY.labels)
    for row in TINY.train.positives.label_rows.tolist():
        wanted[row] += 1
    assert TINY.train_counts().tolist() == wanted
    assert TINY.train_counts().dtype == np.int64


def test_split_off_dev_depends_on_each_id_alone():
    dataset = replace(TINY, splits={"train": TINY.train, "test": TINY.dev})
    done = split_off_dev(dataset, fraction=0.25, seed=4)
    limit = 0.25 * 2**64
    wanted = [
        query_id
        for query_id in TINY.train.ids
        if int.from_bytes(hashlib.sha256(f"4:{query_id}".encode()).digest()[:8], "big") < limit
    ]
    assert done.dev.ids == wanted
    assert done.train.ids == [query_id for query_id in TINY.train.ids if query_id not in set(wanted)]
    assert 60 < len(wanted) < 140
    assert done.test is dataset.test
    assert done.fingerprint not in (dataset.fingerprint, split_off_dev(dataset, fraction=0.25, seed=5).fingerprint)
    assert done.notes == (f"dev: {len(wanted)} of 400 train queries were moved to dev",)
    backwards = replace(dataset, splits={"train": TINY.train.take(np.arange(399, -1, -1))})
    assert split_off_dev(backwards, fraction=0.25, seed=4).dev.ids == wanted[::-1]


def test_split_off_dev_leaves_a_dev_split_alone():
    assert split_off_dev(TINY) is TINY


def test_split_off_dev_refuses_an_empty_side():
    one = Dataset("one", TINY.labels, {"train": TINY.train.take(np.array([0]))}, "")
    with pytest.raises(DataError, match=r"0\.1 of 1 train query leaves one side empty"):
        split_off_dev(one)
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        split_off_dev(one, fraction=1)


def test_query_table_take_repeats_and_reorders():
    taken = TINY.train.take(np.array([3, 3, 0]))
    assert isinstance(taken, QueryTable)
    assert taken.ids == [TINY.train.ids[3], TINY.train.ids[3], TINY.train.ids[0]]


def test_shipped_folders_hold_what_their_names_say():
    for name in NAMES:
        assert (named_folder(name) / "README.md").is_file()


def test_take_train_takes_nested_parts_by_the_hash_of_each_id_and_leaves_the_rest():
    few, more = (take_train(TINY, queries, seed=2) for queries in (50, 120))
    assert len(few.train) == 50 and set(few.train.ids) < set(more.train.ids) < set(TINY.train.ids)
    assert few.train.ids == [query_id for query_id in TINY.train.ids if query_id in set(few.train.ids)]
    assert few.dev is TINY.dev and few.labels is TINY.labels and few.notes[-1] == "train: 50 of 400 train queries"
    assert len({few.fingerprint, more.fingerprint, TINY.fingerprint, take_train(TINY, 50, seed=3).fingerprint}) == 4
    backwards = replace(TINY, splits={"train": TINY.train.take(np.arange(399, -1, -1))})
    assert take_train(backwards, 50, seed=2).train.ids == few.train.ids[::-1]
    with pytest.raises(DataError, match="has 400 train queries, got 401"):
        take_train(TINY, 401)


def test_a_relative_folder_is_named_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as raised:
        load_dataset("data/t")
    assert f"no folder {tmp_path / 'data' / 't'}" in str(raised.value)
    assert "counts from the folder in which the command runs" in raised.value.hint
    assert "--set data.name=FOLDER" in raised.value.hint
    with pytest.raises(DataError) as raised:
        load_dataset(tmp_path / "t")
    assert "counts from" not in raised.value.hint and "--set data.name=FOLDER" in raised.value.hint


def test_a_file_in_place_of_its_folder_is_told(tmp_path):
    (tmp_path / "train.csv").write_text("text,labels\n")
    with pytest.raises(DataError, match=r"train\.csv is a file; a data set is a folder with labels\.parquet") as raised:
        load_dataset(tmp_path / "train.csv")
    assert f"xmc import {tmp_path} --out NEW_FOLDER" in raised.value.hint


def test_a_folder_with_the_name_of_a_file_is_its_shards(tmp_path):
    folder = write_folder(tmp_path / "data", TINY)
    for table in ("labels", *TINY.splits):
        (folder / f"{table}.parquet").rename(tmp_path / "part-00000.parquet")
        (folder / f"{table}.parquet").mkdir()
        (folder / f"{table}.parquet" / "_SUCCESS").touch()
        (tmp_path / "part-00000.parquet").rename(folder / f"{table}.parquet" / "part-00000.parquet")
    assert load_dataset(folder).fingerprint == TINY.fingerprint


def test_a_link_to_nothing_is_no_missing_split(tmp_path):
    folder = write_folder(tmp_path / "data", TINY)
    (folder / "dev.parquet").unlink()
    (folder / "dev.parquet").symlink_to(tmp_path / "gone.parquet")
    with pytest.raises(DataError, match=r"there is no table .*dev\.parquet"):
        load_dataset(folder)


@pytest.mark.parametrize("name", ["validation.parquet", "dev.csv", "Dev.parquet", "val.parquet"])
def test_a_file_that_looks_like_a_split_and_is_not_read_is_told(tmp_path, name):
    folder = write_folder(tmp_path / "data", TINY)
    assert load_dataset(folder).notes == ()
    (folder / "dev.parquet").rename(folder / name)
    (note,) = load_dataset(folder).notes
    assert note == f"{name} is not read: the tables are labels, train, dev and test, as .parquet or .arrow"
