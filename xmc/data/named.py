"""The data sets that travel inside the package, by name."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

NAMES = ("icd10cm", "tiny")


def named_folder(name: str) -> Path:
    """The folder of a shipped data set.

    >>> named_folder("tiny").name
    'tiny'
    """
    return Path(str(files("xmc.datasets") / name))


def licence_of(name: str) -> str:
    """What the README of a shipped data set says about its licence, on one line; empty for other data.

    >>> licence_of("tiny")
    'that of xmc.'
    >>> licence_of("./tiny")
    ''
    """
    if name not in NAMES:
        return ""
    text = (named_folder(name) / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^(?:Licence:|\*\*Licence\.\*\*) (.+?)(?:\n\n|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""
