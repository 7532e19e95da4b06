"""The only place that imports faiss: it says how to install it, and guards the reading of its files."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

from xmc.api import ArtifactError, PluginError

_HOW_TO_INSTALL = "Install it with: pip install 'xmc-engine[cpu]', or use the backend 'exact', which needs nothing."
LARGEST_INT = 2**31 - 1  # of C, as which faiss keeps seeds and sizes of samples
_MAX_LOOP = 1_000_000
_PIECE_BYTES = 1 << 20
_limits_lock = threading.Lock()  # the limits of faiss are global to the process


def import_faiss() -> Any:
    """The faiss module.

    Raises: PluginError, saying what to install, when it is not there.
    """
    try:
        import faiss
    except ImportError as error:
        raise PluginError(
            f"index backend 'faiss' needs faiss, which cannot be imported: {error}.", hint=_HOW_TO_INSTALL
        ) from error
    return faiss


def require_faiss() -> None:
    """Nothing where faiss is installed; it is not imported. Raises: PluginError, saying what to install."""
    if importlib.util.find_spec("faiss") is None:
        raise PluginError("index backend 'faiss' needs faiss, which is not installed.", hint=_HOW_TO_INSTALL)


def write_faiss(index: Any, path: Path) -> None:
    """Write a faiss index by way of a Python file, which reports a full disk (faiss's own writer may not).

    It goes piece by piece, so that there is no second copy of the index in memory.
    """
    faiss = import_faiss()
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, _PIECE_BYTES))


def saved_bytes(index: Any) -> int:
    """How large the file of a faiss index is, which is what it holds in memory but for a few pointers."""
    faiss = import_faiss()
    sizes: list[int] = []
    faiss.write_index(index, faiss.PyCallbackIOWriter(lambda piece: sizes.append(len(piece)), _PIECE_BYTES))
    return sum(sizes)


def read_faiss(path: Path) -> Any:
    """Read a faiss index whose checksum was verified, with faiss's limits set to what the file can hold.

    Raises: ArtifactError when faiss refuses it.
    """
    import numpy as np

    faiss = import_faiss()
    try:
        data = np.fromfile(path, dtype=np.uint8)
        with _limits_lock:
            before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
            faiss.set_deserialization_vector_byte_limit(data.size)
            faiss.set_deserialization_loop_limit(_MAX_LOOP)
            try:
                # The tables it would compute are for L2 distances, and above the limit where there are many cells.
                return faiss.deserialize_index(data, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
            finally:
                faiss.set_deserialization_vector_byte_limit(before[0])
                faiss.set_deserialization_loop_limit(before[1])
    except (OSError, RuntimeError, MemoryError) as error:
        raise ArtifactError(f"{path} holds no faiss index that can be read: {error}.") from error
