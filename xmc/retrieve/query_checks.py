"""What a search may be asked: how many labels, for which texts, and from which probability on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set, Sized

from xmc.errors import ConfigError, DataError
from xmc.given_numbers import any_number, whole_number

MAX_K = 10_000
MAX_TEXT_CHARACTERS = 1_000_000


def check_k(k: int) -> int:
    """The k as an `int`, refused if it cannot be. Raises: ConfigError."""
    k = whole_number(k, name="k")
    if not 1 <= k <= MAX_K:
        raise ConfigError(f"k must lie in 1..{MAX_K:,}, got {k:,}.")
    return k


def check_texts(texts: Sequence[str], *, what: str = "query") -> None:
    """Refuse texts that no encoder can read; `what` is each of them.

    Raises: DataError naming the first text that is not a non-blank string of valid Unicode, or is too long.
    """
    require_list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            shown = "an empty text" if isinstance(text, str) else repr(text)[:60]
            raise DataError(f"{what} {row} is {shown}; it must be a text with at least one character.")
        if len(text) > MAX_TEXT_CHARACTERS:
            raise DataError(f"{what} {row} has {len(text):,} characters; at most {MAX_TEXT_CHARACTERS:,} are allowed.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{what} {row} is not valid Unicode: {error.reason}.") from None


def require_list(texts: Sequence[str]) -> None:
    """Refuse what is no list of texts, whatever the texts are. Raises: DataError."""
    if isinstance(texts, str):
        raise DataError("texts must be a list of strings, got one string.", hint="Write [text].")
    if isinstance(texts, bytes):
        raise DataError("texts must be a list of strings, got bytes.", hint="Write [text.decode()].")
    if not isinstance(texts, Sized) or isinstance(texts, (Mapping, Set)):
        raise DataError(f"texts must be a list of strings, got {type(texts).__name__}.", hint="Write list(texts).")


def require_ids(label_ids: Iterable[str], *, what: str = "allowed") -> None:
    """Refuse what is no collection of label ids, whatever the ids are; `what` names it. Raises: DataError."""
    if isinstance(label_ids, (str, bytes)):
        raise DataError(f"{what} must be a collection of label ids, got one text.", hint=f"Write {what}=[label_id].")
    if not isinstance(label_ids, Iterable):
        raise DataError(f"{what} must be a collection of label ids, got {type(label_ids).__name__}.")


def check_probability(min_probability: float | None) -> float | None:
    """The least probability as Python's number, refused if it cannot be; None is none. Raises: ConfigError."""
    if min_probability is None:
        return None
    min_probability = any_number(min_probability, name="min_probability")
    if not 0 <= min_probability <= 1:
        raise ConfigError(f"min_probability must lie in 0..1, got {min_probability}.")
    return min_probability
