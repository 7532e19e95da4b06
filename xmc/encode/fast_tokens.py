"""Token numbers of a sentence-transformers model without its walk over every number in Python.

`SentenceTransformer.preprocess` takes more time for that than the tokenizer for its work, and a GPU waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

Prepare = Callable[[list[str]], dict[str, Any]]
TASKS = ("query", "document")
PROBES = ("a", "", "  Two  Words ", "Ünïcödé 漢字 🚋 don't", "line\nbreak\t(1,2)", "many " * 5000)


def fast_tokens(model: Any) -> Prepare | None:
    """What `model.preprocess(texts, task=...)` gives, made faster; None where it is not certain to be the same.

    Naive: `lambda texts: model.preprocess(texts, task="document")`. It is held against that on a handful of texts: a
    model that pads on the left, has a processor of its own or treats the tasks apart is left as it is.
    """
    try:
        prepare = _of(model)
        is_same = prepare is not None and all(
            _equal(prepare(texts), model.preprocess(texts, task=task))
            for task in TASKS
            for texts in (list(PROBES), list(PROBES[:1]))
        )
    except Exception:  # a model of an unknown make, whose own way works
        return None
    return prepare if is_same else None


def _of(model: Any) -> Prepare | None:
    from tokenizers import Tokenizer

    theirs = model.tokenizer
    if not getattr(theirs, "is_fast", False):
        return None
    tokenizer = Tokenizer.from_str(theirs.backend_tokenizer.to_str())  # a copy: theirs is set anew by every call
    tokenizer.no_padding()
    tokenizer.enable_truncation(model.max_seq_length)
    pad_id, shown = int(theirs.pad_token_id), model.preprocess([PROBES[0]], task=TASKS[0])

    def prepare(texts: list[str]) -> dict[str, Any]:
        numbers = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        ids_NT, mask_NT = _padded(numbers, pad_id)
        made = {"input_ids": ids_NT, "attention_mask": mask_NT, "token_type_ids": torch.zeros_like(ids_NT)}
        return {name: made[name] if isinstance(value, Tensor) else value for name, value in shown.items()}

    return prepare


def _padded(numbers: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """The numbers as a matrix (N, T), filled up on the right, and where they are (1) and are not (0)."""
    counts_N = np.fromiter(map(len, numbers), np.int64, len(numbers))
    is_token_NT = np.arange(counts_N.max(initial=0)) < counts_N[:, None]
    ids_NT = np.full(is_token_NT.shape, pad_id, np.int64)
    ids_NT[is_token_NT] = np.fromiter(chain.from_iterable(numbers), np.int64, int(counts_N.sum()))
    return torch.from_numpy(ids_NT), torch.from_numpy(is_token_NT.astype(np.int64))


def _equal(one: dict[str, Any], other: Any) -> bool:
    """Whether the same keys hold the same values; tensors also of one type."""
    if dict(one).keys() != dict(other).keys():
        return False
    pairs = [(value, other[name]) for name, value in one.items()]
    return all(
        isinstance(theirs, Tensor) and mine.dtype == theirs.dtype and torch.equal(mine, theirs)
        if isinstance(mine, Tensor)
        else mine == theirs
        for mine, theirs in pairs
    )
