"""The data sets that travel inside the package, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

NAMES = ("icd10cm", "tiny")


def named_folder(name: str) -> Path:
    """The folder of a shipped data set.

    >>> named_folder("tiny").name
    'tiny'
    """
    return Path(str(files("xmc.datasets") / name))
