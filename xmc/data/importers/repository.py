"""The sparse text of the Extreme Classification Repository: `points features labels`, then `l1,l2 f:v f:v` a line.

It has no texts, so they are made: a query reads the names of its features, each once, or `f<id>` without a name file;
a label reads its name, or `label <id>`. Ids are row numbers from 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmc.counted import counted
from xmc.data.importers.repository_text import is_repository_text, open_repository_text
from xmc.data.importers.rows import LabelRow, Place, QueryRow, Source
from xmc.data.importers.tally import Tally
from xmc.data.importers.text_files import (
    COMPRESSIONS,
    decoded,
    find_text_file,
    not_there,
    read_lines,
    read_raw_lines,
    the_one,
)
from xmc.data.split_names import SPLIT_WORDS
from xmc.errors import DataError

EXPECTED = "*train.txt and *test.txt with a header `points features labels`, or trn_X.txt, trn_X_Y.txt and Y.txt"


def is_repository(folder: Path) -> bool:
    """Whether the folder looks like one of the repository's layouts."""
    return is_repository_text(folder) or "train" in _sparse_files(folder)


def open_repository(folder: Path, tally: Tally) -> Source:
    """Open a folder of the repository: raw text where there is such, else sparse features.

    Raises: DataError when a file is missing, or a header is not one.
    """
    if is_repository_text(folder):
        return open_repository_text(folder, tally)
    files = _sparse_files(folder)
    if "train" not in files:
        raise not_there(folder, "train split", EXPECTED)
    headers = {split: _read_header(path, tally) for split, path in files.items()}
    names = _read_names(folder, ("Xf.txt", "features.txt", "feature_names.txt"), headers["train"][1], tally)
    for what, column in [("labels", 2), *([("features", 1)] if names else [])]:
        if len({header[column] for header in headers.values()}) > 1:
            said = ", ".join(f"{path.name}: {headers[split][column]}" for split, path in files.items())
            raise DataError(f"{folder}: the headers differ in their number of {what} ({said}).")
    splits = {split: _read_points(path, split, headers[split], names, tally) for split, path in files.items()}
    notes = [] if names else ["there is no file of feature names: query texts are feature numbers"]
    return Source(_read_labels(folder, headers["train"][2], files["train"], tally), splits, notes)


def _sparse_files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for split, words in SPLIT_WORDS.items():
        endings = tuple(f"{word}.txt{suffix}" for word in words for suffix in COMPRESSIONS)
        files = [path for path in sorted(folder.iterdir()) if path.name.endswith(endings) and _has_header(path)]
        if (file := the_one(folder, files)) is not None:
            found[split] = file
    return found


def _has_header(path: Path) -> bool:
    return path.is_file() and _read_header(path, Tally("skip"))[2] > 0


def _read_header(path: Path, tally: Tally) -> tuple[int, int, int]:
    """The three numbers of the first line; zeros where it is something else."""
    _, line = next(read_lines(path, table="header", tally=tally), (None, ""))
    parts = line.split()
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return 0, 0, 0
    return int(parts[0]), int(parts[1]), int(parts[2])


def _read_names(folder: Path, file_names: tuple[str, ...], count: int, tally: Tally) -> list[str]:
    path = find_text_file(folder, *file_names)
    if path is None:
        return []
    names = [line.strip() for _, line in read_lines(path, table="names", tally=tally)]
    if len(names) != count:
        raise DataError(f"{path} has {len(names):,} names, the header says {count:,}.")
    return names


def _read_labels(folder: Path, count: int, train: Path, tally: Tally) -> Iterator[LabelRow]:
    names = _read_names(folder, ("Y.txt", "labels.txt", "label_names.txt"), count, tally)
    for number in range(count):
        tally.table("labels").read += 1
        yield LabelRow(Place(str(train), 1), str(number), names[number] if names else f"label {number}")


def _read_points(
    path: Path, split: str, header: tuple[int, int, int], names: list[str], tally: Tally
) -> Iterator[QueryRow]:
    last = 0
    for place, raw in read_raw_lines(path):
        if place.row == 1:
            continue
        last = place.row - 1
        tally.table(split).read += 1
        line = decoded(place, raw)
        row = _parse_point(place, f"{split}-{last - 1}", line, header[1], names) if isinstance(line, str) else line
        if isinstance(row, QueryRow):
            yield row
        else:
            tally.bad(split, place, *row)
    if last != header[0]:
        raise DataError(
            f"{path} has {counted(last, 'point')}, its header says {header[0]}.", hint="Is the file complete?"
        )


def _parse_point(place: Place, query_id: str, line: str, features: int, names: list[str]) -> QueryRow | tuple[str, str]:
    labels, _, rest = line.partition(" ")
    if ":" in labels:
        labels, rest = "", line
    label_ids = [label.strip() for label in labels.split(",") if label.strip()]
    words = []
    for pair in rest.split():
        feature, _, value = pair.partition(":")
        if not (feature.isascii() and feature.isdigit() and value) or int(feature) >= features:
            return f"not `feature:value` with a feature below {features}", repr(pair[:50])
        words.append(names[int(feature)] if names else f"f{int(feature)}")
    return QueryRow(place, query_id, " ".join(dict.fromkeys(words)), label_ids)
