"""What the files of a data set call its splits, and which of them are named like a split and not read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

SPLIT_WORDS = {"train": ("train", "trn"), "dev": ("dev", "validation", "valid", "val"), "test": ("test", "tst")}


def unread_splits(folder: Path, splits: Collection[str]) -> list[str]:
    """The names in a folder that say a split which is not among these: whoever put them there thinks it is used.

    >>> unread_splits(Path("no/such/folder"), ["train"])
    []
    """
    words = {word for split, names in SPLIT_WORDS.items() if split not in splits for word in names}
    return sorted(path.name for path in folder.glob("*") if path.name.partition(".")[0].lower() in words)
