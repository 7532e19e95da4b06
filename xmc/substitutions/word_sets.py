"""Which words may stand for which: what an attacker of a text is allowed, and where in a text he may do it."""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from xmc.errors import DataError, did_you_mean

BUILT_IN = ("counterfitted", "wordnet")
WORD = re.compile(r"\b[^\W_]+\b")
MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Site:
    """A word of a text that may be replaced: `text[start:stop]`, in lower case `word`, by one of `substitutes`."""

    start: int
    stop: int
    word: str
    substitutes: tuple[str, ...]


@dataclass(frozen=True)
class Substitutions:
    """For each word (lower case) the other words that may replace it.

    A replacement is put in as it stands, in lower case. A place of a text is changed at most once, by a substitute of
    the word that stood there; an attack of radius R changes at most R places. `left_out` counts entries of the source
    that are not a single word of letters and digits.

    >>> some = Substitutions({"car": ("auto", "motorcar")})
    >>> [(site.word, site.substitutes) for site in some.sites("A red Car.")]
    [('car', ('auto', 'motorcar'))]
    """

    of_word: Mapping[str, tuple[str, ...]]
    source: str = "given"
    left_out: int = 0

    def sites(self, text: str) -> list[Site]:
        """The places of a text that may change, from left to right: whole words, without a combining mark."""
        found = []
        for match in WORD.finditer(text):
            word = match.group().lower()
            substitutes = self.of_word.get(word)
            if substitutes and not _has_a_mark(text, match):
                found.append(Site(match.start(), match.end(), word, substitutes))
        return found


def _has_a_mark(text: str, word: re.Match[str]) -> bool:
    """Whether a combining mark touches the word: what is found is a part of a longer one then, or has an accent."""
    around = text[max(word.start() - 1, 0) : word.start()] + text[word.end() : word.end() + 1]
    return any(unicodedata.category(sign).startswith("M") for sign in around)


def replaced(text: str, sites: Iterable[tuple[Site, str]]) -> str:
    """The text with words put in at some of its sites.

    >>> site = Site(2, 5, "red", ("pink",))
    >>> replaced("A red car", [(site, "pink")])
    'A pink car'
    """
    parts, end = [], 0
    for site, word in sorted(sites, key=lambda pair: pair[0].start):
        parts += [text[end : site.start], word]
        end = site.stop
    return "".join([*parts, text[end:]])


def read_substitutions(source: str | Path) -> Substitutions:
    """The built-in set `counterfitted` or `wordnet`, or a file.

    A file is JSON, `{"word": ["other", ...]}`, or text with lines `word: other other` (these may replace the word) or
    `a b c` (these may replace each other); `#` begins a comment line; `.gz` is unpacked.
    Raises: DataError when there is no such set or file, it cannot be read, or it allows no substitution.
    """
    path = Path(source)
    if str(source) in BUILT_IN:
        return _shipped(str(source))
    if not path.is_file():
        raise DataError(
            f"there is no substitution set and no file '{source}'. {did_you_mean(str(source), BUILT_IN)}".strip(),
            hint=f"Sets that ship with xmc: {', '.join(BUILT_IN)}.",
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise DataError(f"{path} holds more than {MAX_BYTES >> 20} MB of substitutions.")
        return parse_substitutions(text.decode("utf-8-sig"), source=str(path))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as substitutions: {error}.") from error


@lru_cache(maxsize=len(BUILT_IN))
def _shipped(name: str) -> Substitutions:
    raw = files("xmc.substitutions").joinpath(f"shipped/{name}.txt.gz").read_bytes()
    return parse_substitutions(gzip.decompress(raw).decode(), source=name)


def parse_substitutions(text: str, *, source: str) -> Substitutions:
    """The substitutions that a text lists, in one of the forms that `read_substitutions` names.

    >>> dict(parse_substitutions("big large", source="example").of_word)
    {'big': ('large',), 'large': ('big',)}
    """
    pairs = _json_pairs(text, source) if text.lstrip().startswith("{") else _line_pairs(text)
    of_word: dict[str, dict[str, None]] = {}  # a dict keeps the order and drops repetitions
    left_out = 0
    for word, other in pairs:
        word, other = _normal(word), _normal(other)
        if not (WORD.fullmatch(word) and WORD.fullmatch(other)):
            left_out += 1
        elif word != other:
            of_word.setdefault(word, {})[other] = None
    if not of_word:
        raise DataError(
            f"the substitutions of {source} allow nothing: no pair of two different single words.",
            hint="Write lines such as 'big: large huge'.",
        )
    frozen = MappingProxyType({word: tuple(others) for word, others in of_word.items()})
    return Substitutions(frozen, source, left_out)


def _normal(word: str) -> str:
    return unicodedata.normalize("NFKC", word.strip()).lower()


def _line_pairs(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        head, colon, tail = line.partition(":")
        words = (tail if colon else head).split()
        for word in [head] if colon else words:
            for other in words:
                yield word, other


def _json_pairs(text: str, source: str) -> Iterable[tuple[str, str]]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is no JSON: {error}.") from error
    for word, others in body.items():
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise DataError(f"{source}: the substitutes of '{word}' must be a list of words.")
        for other in others:
            yield word, other
