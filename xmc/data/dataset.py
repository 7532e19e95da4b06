"""A data set: labels, splits of queries, and the fingerprint that says whether two of them are the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xmc.counted import counted
from xmc.data.fingerprint import fingerprint_of
from xmc.data.named import NAMES, named_folder
from xmc.data.shards import SUFFIXES, find_shards
from xmc.data.split_names import unread_splits
from xmc.data.tables import LabelTable, QueryTable, read_labels, read_queries
from xmc.errors import DataError, did_you_mean, quoted

__all__ = ["SPLITS", "Dataset", "LabelTable", "QueryTable", "load_dataset", "split_off_dev", "take_train"]

SPLITS = ("train", "dev", "test")

HOLD_OUT = "Add a dev or test table of queries that it was not trained on."


@dataclass(frozen=True)
class Dataset:
    """Labels and the splits `train`, and where there are such, `dev` and `test`.

    `fingerprint` is a SHA-256 of ids, texts, positives and weights; `notes` say what was left out or merged on loading.
    """

    name: str
    labels: LabelTable
    splits: dict[str, QueryTable]
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def train(self) -> QueryTable:
        """The queries to learn from."""
        return self.splits["train"]

    @property
    def dev(self) -> QueryTable | None:
        """The queries to choose settings by, if there are such."""
        return self.splits.get("dev")

    @property
    def test(self) -> QueryTable | None:
        """The queries to report figures on, if there are such."""
        return self.splits.get("test")

    def queries_of(self, split: str) -> QueryTable:
        """The queries of a split by its name. Raises: DataError naming those that are there."""
        if not isinstance(split, str) or split not in self.splits:
            there = [f"--split {name}" for name in self.splits if name != "train"]
            raise DataError(
                f"data set '{self.name}' has no split {split!r:.60} (it has: {', '.join(self.splits)}).",
                hint=f"Use: {' or '.join(there)}" if there else HOLD_OUT,
            )
        return self.splits[split]

    def train_counts(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Number of train queries of each label, (L,) int64.

        Queries in bags have labels together only: there it is the sum of the shares that a bag's queries have of it.
        """
        positives = self.train.positives
        shares = None if self.train.bag_ids is None else positives.weights
        return np.rint(np.bincount(positives.label_rows, shares, minlength=len(self.labels))).astype(np.int64)


def load_dataset(name_or_folder: str | Path) -> Dataset:
    """Load a shipped data set by name, or a folder with `labels` and `train` (and `dev`, `test`) tables.

    A table is `<split>.parquet`, `<split>.arrow`, or a folder `<split>/` of such shards, which may have the name of the
    file. A shipped name wins over a folder of that name in the working directory; write `./tiny` for the folder.
    Raises: DataError when name or folder are unknown, a table is missing, damaged, or breaks its schema.

    >>> dataset = load_dataset("tiny")
    >>> len(dataset.labels), len(dataset.train)
    (60, 400)
    """
    name = str(name_or_folder)
    folder = named_folder(name) if name in NAMES and not isinstance(name_or_folder, Path) else Path(name_or_folder)
    if not folder.is_dir():
        raise _unknown(name, folder)
    labels = read_labels(_table_shards(folder, "labels", required=True))
    splits: dict[str, QueryTable] = {}
    notes: list[str] = []
    for split in SPLITS:
        shards = _table_shards(folder, split, required=split == "train")
        if shards:
            splits[split], said = read_queries(shards, labels, split=split)
            notes.extend(said)
    notes += [
        f"{file} is not read: the tables are labels, train, dev and test, as .parquet or .arrow"
        for file in unread_splits(folder, splits)
    ]
    for split, queries in splits.items():
        if not len(queries):
            raise DataError(
                f"{folder}: the table '{split}' has no query with text and positives.", hint="; ".join(notes)
            )
    notes += filter(None, [nothing_to_tell_apart(labels, splits["train"])])
    return Dataset(folder.resolve().name, labels, splits, fingerprint_of(labels, splits), tuple(notes))


def nothing_to_tell_apart(labels: LabelTable, train: QueryTable) -> str:
    """A note where all training queries have one label, the same: a model that always answers it seems perfect."""
    rows_P = train.positives.label_rows
    if not len(rows_P) or (rows_P != rows_P[0]).any():
        return ""
    return f"every training query has the label '{labels.ids[rows_P[0]]}' and no other: there is nothing to tell apart"


def _unknown(name: str, folder: Path) -> DataError:
    if folder.is_file():
        return DataError(
            f"{folder} is a file; a data set is a folder with labels.parquet, train.parquet and, if wanted, "
            "dev.parquet and test.parquet.",
            hint="Give the folder. Files of other formats, such as train.csv or train.jsonl, become one with: "
            f"xmc import {quoted(folder.parent)} --out NEW_FOLDER",
        )
    if close := did_you_mean(name, NAMES):
        hint = close
    elif folder.is_absolute():
        hint = "If it lies elsewhere today: --set data.name=FOLDER. Other formats: xmc import --help"
    else:
        hint = (
            f"A relative path counts from the folder in which the command runs, here {Path.cwd()}. "
            "For a run that was made from another folder: --set data.name=FOLDER. Other formats: xmc import --help"
        )
    return DataError(
        f"there is no data set '{name}': shipped are {', '.join(NAMES)}, and there is no folder {folder.absolute()}; "
        "one holds labels.parquet, train.parquet and, if wanted, dev.parquet and test.parquet.",
        hint=hint,
    )


def _table_shards(folder: Path, table: str, *, required: bool) -> list[Path]:
    named = [path for suffix in SUFFIXES if (path := folder / f"{table}{suffix}").exists() or path.is_symlink()]
    files = [*named, *([folder / table] if (folder / table).is_dir() else [])]
    if len(files) > 1:
        names = " and ".join(path.name for path in files)
        raise DataError(f"{folder} holds {names}: which is the table '{table}'?", hint="Leave one of them.")
    if files:
        return find_shards(files[0])
    if required:
        raise DataError(f"{folder} has no {table}.parquet, {table}.arrow or folder {table}/.", hint=_instead_of(folder))
    return []


def _instead_of(folder: Path) -> str:
    """What to do with a folder that is no data set."""
    if (folder / "config.toml").is_file():
        return (
            "It looks like a run. Name the data that it was trained on, which is [data] name in its config.toml; to go "
            f"on with the run: xmc train --out {quoted(folder)} --resume"
        )
    return f"Make a data set folder from other formats with: xmc import {quoted(folder)} --out NEW_FOLDER"


def split_off_dev(dataset: Dataset, *, fraction: float = 0.1, seed: int = 0) -> Dataset:
    """Move about `fraction` of the train queries to a new dev split; a data set that has one comes back as it is.

    A query goes to dev when the hash of seed and query id says so: neither the other queries nor their order matter.
    Bags of queries stay whole: there it is the hash of the bag's id.
    Raises: DataError when a side would be empty; ValueError when `fraction` is not between 0 and 1.

    >>> dataset = split_off_dev(replace(load_dataset("tiny"), splits={"train": load_dataset("tiny").train}))
    >>> len(dataset.train) + len(dataset.dev)
    400
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
    if dataset.dev is not None:
        return dataset
    limit, keys = int(fraction * 2**64), dataset.train.bag_ids or dataset.train.ids
    in_dev = np.array([_hash64(f"{seed}:{key}") < limit for key in keys], dtype=bool)
    if in_dev.all() or not in_dev.any():
        raise DataError(
            f"a dev split of {fraction:g} of {counted(len(in_dev), 'train query')} leaves one side empty.",
            hint="Give a dev split of your own, or another fraction (train.validation_share; 0 for none).",
        )
    train, dev = (dataset.train.take(np.flatnonzero(chosen)) for chosen in (~in_dev, in_dev))
    splits = {"train": train, "dev": dev, **{name: dataset.splits[name] for name in dataset.splits if name != "train"}}
    note = f"dev: {len(dev):,} of {counted(len(in_dev), 'train query was', 'train queries were')} moved to dev"
    fingerprint = fingerprint_of(dataset.labels, splits)
    return replace(dataset, splits=splits, fingerprint=fingerprint, notes=(*dataset.notes, note))


def take_train(dataset: Dataset, queries: int, *, seed: int = 0) -> Dataset:
    """The data set with so many of its train queries, those with the lowest hash of seed and query id, in their order.

    The queries of a smaller number are among those of a larger one. Bags of queries stay whole: they are taken by the
    hash of the bag's id, up to the first one that would make it more than `queries`.
    Raises: DataError when there are fewer, or the first bag alone is larger.

    >>> len(take_train(load_dataset("tiny"), 100).train)
    100
    """
    there = len(dataset.train)
    if queries > there:
        raise DataError(
            f"data set '{dataset.name}' has {counted(there, 'train query')}, got {queries:,}.",
            hint="Set data.train_queries to at most that, or to 0 for all.",
        )
    keys = dataset.train.bag_ids or dataset.train.ids
    hashes_Q = np.array([_hash64(f"{seed}:train:{key}") for key in keys], np.uint64)
    first_Q = np.argsort(hashes_Q, kind="stable")[:queries]
    if queries < there:
        cut_off = np.sort(hashes_Q)[queries]  # of the first query that is left out, and then of its bag
        first_Q = first_Q[hashes_Q[first_Q] < cut_off]
    if not len(first_Q):
        raise DataError(
            f"a bag of data set '{dataset.name}' has more than {counted(queries, 'train query')}, and bags stay whole.",
            hint="Set data.train_queries to at least the size of the largest bag, or to 0 for all.",
        )
    train = dataset.train.take(np.sort(first_Q))
    splits = {**dataset.splits, "train": train}
    note = f"train: {len(train):,} of {counted(there, 'train query')}"
    fingerprint = fingerprint_of(dataset.labels, splits)
    return replace(dataset, splits=splits, fingerprint=fingerprint, notes=(*dataset.notes, note))


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
