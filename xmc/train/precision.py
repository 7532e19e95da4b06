"""Mixed precision: the largest products are made in bfloat16 while learning; all else stays float32.

They are those of a network encoder's layers, or of queries and labels where embeddings are sums of table rows.
"""

from __future__ import annotations

from typing import Literal

import torch

from xmc.encode.encoder import Encoder
from xmc.errors import DeviceError

Precision = Literal["float32", "bfloat16"]


def choose_precision(wanted: Literal["auto", "float32", "bfloat16"], *, encoder: Encoder, device: str) -> Precision:
    """What `[train] precision` comes to: `auto` is bfloat16 for a network on a GPU that has it, else float32.

    Raises: DeviceError when the device lacks bfloat16.
    """
    if wanted == "auto":
        return "bfloat16" if device == "cuda" and not encoder.whole_label_graph and has_bfloat16(device) else "float32"
    if wanted == "bfloat16" and not has_bfloat16(device):
        raise DeviceError(f"device '{device}' has no bfloat16 of its own.", hint="Set precision = 'float32' or 'auto'.")
    return wanted


def score_products(precision: str, *, encoder: Encoder) -> torch.dtype | None:
    """What queries and labels are rounded to for their products: bfloat16 where it is wanted and no layer takes it.

    A network's layers are the larger part of its work; where embeddings are sums of table rows, the scores are.
    """
    return torch.bfloat16 if precision == "bfloat16" and encoder.whole_label_graph else None


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies in bfloat16 itself; emulation would be slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
