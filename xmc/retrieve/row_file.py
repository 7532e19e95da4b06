"""Rows of vectors in a file, dense or CSR.

Shapes: N rows, E width.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def save_rows(path: Path, vectors_NE: Tensor | None) -> None:
    """Write the rows into a folder that is not committed yet; no file for None and for no rows."""
    import torch
    from safetensors.torch import save_file

    if vectors_NE is None or len(vectors_NE) == 0:
        return
    if vectors_NE.layout != torch.sparse_csr:
        save_file({"dense": vectors_NE.detach().cpu().float().contiguous()}, path)
        return
    parts = {"offsets": vectors_NE.crow_indices(), "columns": vectors_NE.col_indices(), "values": vectors_NE.values()}
    tensors = {name: part.detach().cpu().contiguous() for name, part in parts.items()}
    save_file({**tensors, "width": torch.tensor([vectors_NE.shape[1]])}, path)


def load_rows(path: Path) -> Tensor | None:
    """What `save_rows` wrote, None where there is no file."""
    from safetensors.torch import load_file

    from xmc.encode.csr import csr_tensor

    if not path.is_file():
        return None
    parts = load_file(path)
    if "dense" in parts:
        return parts["dense"]
    size = (len(parts["offsets"]) - 1, int(parts["width"]))
    return csr_tensor(parts["offsets"], parts["columns"], parts["values"], size)


def row_hashes(vectors_NE: Tensor) -> list[str]:
    """A hash of each row, dense or CSR: equal for equal numbers.

    >>> import torch
    >>> row_hashes(torch.eye(2)) == row_hashes(torch.eye(2).to_sparse_csr())
    True
    """
    import torch

    from xmc.encode.csr import take_rows

    hashes = []
    for row in range(vectors_NE.shape[0]):
        dense_1E = take_rows(vectors_NE, torch.tensor([row])).to_dense().detach().cpu().float() + 0.0  # -0.0 is 0.0
        hashes.append(hashlib.sha256(dense_1E.contiguous().numpy().tobytes()).hexdigest())
    return hashes
