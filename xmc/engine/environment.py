"""Versions of what a result depends on, for every report."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = (
    "xmc-engine",
    "torch",
    "sentence-transformers",
    "tokenizers",
    "numpy",
    "pyarrow",
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cuvs",
)


def versions(*others: str) -> dict[str, str]:
    """Name -> version of Python and the installed packages among those that matter, and among `others`."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *others):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
