"""Lines of text files, plain or compressed, with bad bytes and overlong lines caught row by row."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, cast

from xmc.data.importers.rows import Place, Rows
from xmc.data.importers.tally import NOT_UTF8, Tally
from xmc.data.importers.xz_streams import open_xz
from xmc.data.split_names import SPLIT_WORDS
from xmc.errors import DataError, first_few

COMPRESSIONS = ("", ".gz", ".xz")
BEGINNINGS = {  # of files that are taken for text by their names
    b"\x1f\x8b": "it is compressed by gzip: let its name end in .gz",
    b"\xfd7zXZ": "it is compressed by xz: let its name end in .xz",
    b"\xff\xfe": "it is UTF-16",
    b"\xfe\xff": "it is UTF-16",
}
MAX_LINE_BYTES = 64 << 20
NAMED = 10


def find_text_file(folder: Path, *names: str) -> Path | None:
    """The one file of these names in `folder`, perhaps with .gz or .xz behind; None when there is none.

    Raises: DataError when there are several.
    """
    candidates = [folder / f"{name}{suffix}" for name in names for suffix in COMPRESSIONS]
    return the_one(folder, [path for path in candidates if path.is_file()])


def the_one(folder: Path, found: Sequence[Path]) -> Path | None:
    """The file of a folder that is all that was found; None of none. Raises: DataError for several."""
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(path.name for path in found)}.", hint="Leave one of them.")
    return found[0] if found else None


def find_splits(folder: Path, *patterns: str) -> dict[str, Path]:
    """The file of each split, where `{}` in a pattern stands for any word for the split (dev, validation, ...)."""
    splits = {}
    for split, words in SPLIT_WORDS.items():
        path = find_text_file(folder, *(pattern.format(word) for pattern in patterns for word in words))
        if path is not None:
            splits[split] = path
    return splits


def read_lines(path: Path, *, table: str, tally: Tally) -> Iterator[tuple[Place, str]]:
    """Yield (place, line without its line end) of a UTF-8 file; a line that is not UTF-8 is a bad row of `table`.

    Raises: as `read_raw_lines`.
    """
    for place, line in read_raw_lines(path):
        text = decoded(place, line)
        if isinstance(text, str):
            yield place, text
        else:
            tally.bad(table, place, *text)
            tally.table(table).read += 1


def read_raw_lines(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Yield (place, line with its line end) of a file, whatever its bytes are.

    Raises: DataError when the file is missing, its compression is damaged, or a line is longer than 64 MiB.
    """
    try:
        with _open(path) as file:
            for row, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
                place = Place(str(path), row)
                if len(line) == MAX_LINE_BYTES:
                    raise DataError(f"{place}: the line is longer than {MAX_LINE_BYTES >> 20} MiB.")
                yield place, line
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def decoded(place: Place, line: bytes) -> str | tuple[str, str]:
    """The text of a UTF-8 line without its line end, or what is wrong with it; a mark at the file's start is left out.

    >>> decoded(Place("a", 1), "ä\\n".encode()), decoded(Place("a", 2), b"a\\xff")
    ('ä', ('not UTF-8', 'byte 0xff at 1'))
    """
    try:
        return line.decode("utf-8-sig" if place.row == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        wrong = f"byte {error.object[error.start]:#04x} at {error.start}"
        seems = next((seems for begins, seems in BEGINNINGS.items() if place.row == 1 and line.startswith(begins)), "")
        return NOT_UTF8, f"{wrong}; {seems}" if seems else wrong


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return open_xz(path) if path.suffix == ".xz" else path.open("rb")


def read_json_rows(path: Path, *, table: str, tally: Tally) -> Rows:
    """Yield (place, object) of a file of JSON lines; empty lines say nothing and are passed over."""
    for place, line in read_lines(path, table=table, tally=tally):
        if not line.strip():
            continue
        tally.table(table).read += 1
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            nested = isinstance(error, RecursionError)  # whose own words are of Python
            tally.bad(table, place, "not JSON", "it is nested too deeply" if nested else str(error)[:200])
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            tally.bad(table, place, "not a JSON object", type(row).__name__)


def as_id(value: Any) -> str | None:
    """An id as a string: strings stay, whole numbers are written out, anything else is None.

    >>> as_id("a"), as_id(7), as_id(True), as_id(0.5)
    ('a', '7', None, None)
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def missing_key(row: Mapping[str, Any], *keys: str) -> tuple[str, str] | None:
    """What is wrong with an object that lacks one of these keys, with the keys it has; None when all are there.

    >>> missing_key({"id": 7, "Text": "seven"}, "id", "text")
    ("no key 'text'", 'it has id, Text')
    """
    missing = next((key for key in keys if key not in row), None)
    if missing is None:
        return None
    return f"no key '{missing}'", f"it has {_listed([key[:50] for key in row])}"


def not_there(folder: Path, missing: str, expected: str) -> DataError:
    """The error for a source without its labels, queries or train split, with what the folder holds."""
    return DataError(
        f"{folder} has no {missing}: expected {expected}; it holds {contents_of(folder)}.",
        hint=differs_by_case(folder, expected),
    )


def contents_of(folder: Path) -> str:
    """The names in a folder, the first few of many.

    >>> contents_of(Path("no/such/folder"))
    'nothing'
    """
    return _listed(sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.glob("*")))


def differs_by_case(folder: Path, expected: str) -> str:
    """A sentence for each file that would be one of the expected ones but for capital letters; empty for none."""
    wanted = re.findall(r"[\w*/]+\.\w+", expected)
    pairs = [
        (path.name, name)
        for path in sorted(folder.glob("*"))
        for name in wanted
        for ends in (name, *(f"{name}{suffix}" for suffix in COMPRESSIONS[1:]))
        if fnmatchcase(path.name.lower(), ends.lower()) and not fnmatchcase(path.name, ends)
    ]
    return " ".join(f"{there} must be written in small letters: {wanted}." for there, wanted in dict(pairs).items())


def _listed(names: Sequence[str]) -> str:
    return first_few(names, str, most=NAMED) or "nothing"
