"""Read back what `FaissIndex.save` wrote, refusing what is not that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xmc.api import ArtifactError
from xmc_index_faiss._import import import_faiss, read_faiss
from xmc_index_faiss.index import FACTS_FILE, INDEX_FILE

Kind = tuple[str, tuple[int, ...]]  # dtype and shape of an array


class Saved(NamedTuple):
    """A faiss index with the facts beside it."""

    faiss_index: Any
    similarity: str
    build_s: float
    facts: dict[str, Any]


def read_saved(folder: Path, *, types: tuple[str, ...] = ()) -> Saved:
    """The index of a folder whose checksums are verified; its faiss class must be one of `types` where they are given.

    Raises: ArtifactError when it cannot be read, is of another type or size than its facts say.
    """
    try:
        facts = json.loads((folder / FACTS_FILE).read_bytes())
        similarity, build_s = str(facts["similarity"]), float(facts["build_s"])
        expected = int(facts["labels"]), int(facts["dimension"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder} holds no faiss index that can be read: {error}.") from error
    faiss = import_faiss()
    index = read_faiss(folder / INDEX_FILE)
    found, kind = (index.ntotal, index.d), type(index).__name__
    if found != expected or (types and kind not in types) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        wanted = " or ".join(types) or "an index"
        raise ArtifactError(
            f"{folder} holds {kind} of {found} (labels, width), expected {wanted} of {expected} over inner products.",
            hint="Build the index again: xmc index.",
        )
    return Saved(index, similarity, build_s, facts)


def read_arrays(path: Path, expected: Mapping[str, Kind]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a safetensors file beside a faiss index, which must be these by name, dtype and shape.

    Raises: ArtifactError when it cannot be read or holds others.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} holds no vectors that can be read: {error}.") from error
    found = {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if wrong:
        told = "; ".join(f"{name} is {_told(found.get(name))}, expected {_told(expected.get(name))}" for name in wrong)
        raise ArtifactError(
            f"{path} does not belong to the index beside it: {told}.", hint="Build it again: xmc index."
        )
    return arrays


def _told(kind: Kind | None) -> str:
    return f"{kind[0]} of shape {kind[1]}" if kind else "not there"
