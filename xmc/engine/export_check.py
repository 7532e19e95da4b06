"""Are the embeddings of exported files those of the run's encoder? Asked of real texts, one by one and in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xmc.encode.encoder import Encoder, Role, embed_texts

DIFFERENCE_TOLERANCE = 1e-4  # of the largest absolute value of an embedding; rounding alone stays below a tenth of it
COSINE_TOLERANCE = 1e-5
SAMPLE = 59  # texts of a side; with the others, the long text is in a batch of three, since all are padded to it
ALONE = 8  # of them, embedded also in a batch of one
BATCH = 32
# what a sample need not have: nothing to embed, other scripts, signs of several code points
HARD_TEXTS = ("", " ", "Übergröße, naïve façade", "日本語の文章", "Ελληνικά и кириллица", "👩‍⚕️ ☕", "a\tb\nc")
LONG_CHARACTERS = 6000  # longer than most transformers read


@dataclass(frozen=True)
class Comparison:
    """Exported and own embeddings of one side, over `texts` texts in batches of 1 and 32.

    `largest_value` is the largest absolute value of the own embeddings; `smallest_cosine` compares text by text.
    """

    role: Role
    texts: int
    largest_difference: float
    largest_value: float
    smallest_cosine: float

    @property
    def passed(self) -> bool:
        """Equal within the tolerances; what is not finite is not."""
        close = self.largest_difference <= DIFFERENCE_TOLERANCE * self.largest_value
        return bool(close and self.smallest_cosine >= 1 - COSINE_TOLERANCE)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: a number that is not finite is None."""
        values = {
            key: None if value != value or value in (np.inf, -np.inf) else value for key, value in asdict(self).items()
        }
        return {**values, "passed": self.passed}


def sample_texts(texts: Sequence[str]) -> list[str]:
    """Texts from all over the list, and those that are likely to go wrong."""
    rows = np.unique(np.linspace(0, len(texts) - 1, min(SAMPLE, len(texts))).astype(int))
    chosen = [texts[row] for row in rows]
    together = " ".join(chosen) or "long"
    return [*HARD_TEXTS, *chosen, (together + " ") * (LONG_CHARACTERS // len(together) + 1)]


def compare(
    encoder: Encoder,
    embed: Callable[[Sequence[str]], np.ndarray[Any, Any]],
    texts: Sequence[str],
    role: Role,
    prompt: str,
) -> Comparison:
    """Compare `embed`, which gets a batch of texts with the prompt before them, with the encoder itself."""
    own_ND = embed_texts(encoder, texts, role, chunk_size=BATCH).numpy()
    prompted = [prompt + text for text in texts]
    batches = [prompted[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    whole_ND = np.concatenate([embed(batch) for batch in batches])
    alone = [*range(min(len(texts), len(HARD_TEXTS) + ALONE)), -1]
    alone_ND = np.concatenate([embed([prompted[row]]) for row in alone])
    expected_ND = np.concatenate((own_ND, own_ND[alone])).astype(np.float64)
    got_ND = np.concatenate((whole_ND, alone_ND)).astype(np.float64)
    return Comparison(
        role,
        len(texts),
        float(np.abs(got_ND - expected_ND).max()),
        float(np.abs(expected_ND).max()),
        float(_cosines(got_ND, expected_ND).min()),
    )


def _cosines(a_ND: np.ndarray[Any, Any], b_ND: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cosine of each pair of rows; two zero rows are equal, one alone is not."""
    lengths_N = np.linalg.norm(a_ND, axis=1) * np.linalg.norm(b_ND, axis=1)
    both_zero_N = ~a_ND.any(axis=1) & ~b_ND.any(axis=1)
    cosines_N = (a_ND * b_ND).sum(axis=1) / np.where(lengths_N > 0, lengths_N, 1.0)
    return np.where(both_zero_N, 1.0, cosines_N)
