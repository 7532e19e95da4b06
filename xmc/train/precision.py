"""Mixed precision: a network encoder multiplies in bfloat16 while it learns; all else stays float32."""

from __future__ import annotations

from typing import Literal

import torch

from xmc.encode.encoder import Encoder
from xmc.errors import ConfigError, DeviceError

Precision = Literal["float32", "bfloat16"]


def choose_precision(wanted: Literal["auto", "float32", "bfloat16"], *, encoder: Encoder, device: str) -> Precision:
    """What `[train] precision` comes to: `auto` is bfloat16 for a network on a GPU that has it, else float32.

    Raises: DeviceError when the device lacks bfloat16; ConfigError for an encoder whose embeddings are sums of table
    rows, which multiplies nothing in it.
    """
    if wanted == "auto":
        return "bfloat16" if device == "cuda" and not encoder.whole_label_graph and has_bfloat16(device) else "float32"
    if wanted == "bfloat16" and encoder.whole_label_graph:
        raise ConfigError(
            f"[train] precision 'bfloat16' does nothing for the encoder '{encoder.name}', whose embeddings are sums of "
            "table rows.",
            hint="Set precision = 'float32' or 'auto'.",
        )
    if wanted == "bfloat16" and not has_bfloat16(device):
        raise DeviceError(f"device '{device}' has no bfloat16 of its own.", hint="Set precision = 'float32' or 'auto'.")
    return wanted


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies in bfloat16 itself; emulation would be slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
