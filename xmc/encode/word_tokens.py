"""Token ids of texts, each word tokenised once: many texts have few words, and most words are met again and again."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from xmc.encode.encoder import IntArray

MOST_WORDS = 1 << 18  # that are remembered, some 40 MB; then anew, so that serial numbers do not fill the memory
_BLANKED = bytes(code if chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(128)).ljust(256)


def word_normalizer() -> Any:
    """Of the word tokenizers: compatibility forms composed, lower case."""
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


def word_splitter() -> Any:
    """Of the word tokenizers: runs of letters, digits and underscores, the rest dropped."""
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Split(Regex(r"[^\w]+"), "removed")


def ascii_words(text: str) -> list[bytes]:
    """The words of a text that is ASCII, as `word_normalizer` and `word_splitter` make them, in a tenth of the time.

    >>> ascii_words("Broken wrist (left), 2_b")
    [b'broken', b'wrist', b'left', b'2_b']
    """
    return text.lower().encode("ascii").translate(_BLANKED).split()


class WordTokens:
    """From texts to their token ids without special tokens, (T,) int64 each, by any tokenizer; safe for threads.

    Naive: `[encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]`. So it is done
    for tokenizers of another make, and for texts that are not ASCII. A word's ids are the same in every text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids_of = _WordIds(tokenizer) if _is_by_words(tokenizer) else None

    def __call__(self, texts: list[str]) -> list[IntArray]:
        """The ids of each text."""
        if self._ids_of is None:
            return [np.array(ids, dtype=np.int64) for ids in self._encoded(texts)]
        others = [text for text in texts if not text.isascii()]
        encoded, ids_of = iter(self._encoded(others) if others else ()), self._ids_of.__getitem__
        return [
            np.array(
                list(chain.from_iterable(map(ids_of, ascii_words(text)))) if text.isascii() else next(encoded), np.int64
            )
            for text in texts
        ]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


class _WordIds(dict[bytes, list[int]]):
    """The ids of every word, of which those that were met are remembered."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: bytes) -> list[int]:
        if len(self) >= MOST_WORDS:
            self.clear()
        ids: list[int] = self._tokenizer.encode(word.decode(), add_special_tokens=False).ids
        self[word] = ids
        return ids


def _is_by_words(tokenizer: Any) -> bool:
    """Whether it is one of the word tokenizers, as `train_tokenizer` makes them, with nothing done to whole texts."""
    parts = ((tokenizer.normalizer, word_normalizer()), (tokenizer.pre_tokenizer, word_splitter()))
    return (
        all(part is not None and part.__getstate__() == ours.__getstate__() for part, ours in parts)
        and (tokenizer.post_processor, tokenizer.truncation, tokenizer.padding) == (None, None, None)
        and not tokenizer.get_added_tokens_decoder()
    )
