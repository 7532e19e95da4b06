"""Make a text file of the sentences in EURLEX57K, WordNet, SciFact and ICD-10-CM, each once, in shuffled order.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/make_sentences.py sentences.txt

About 1.4 million lines, for `bench_index_curve.py --texts`. A sentence ends at a line's end, or at a full stop, a
semicolon, a question or an exclamation mark before white space; those of fewer than three words are left out.
"""

from __future__ import annotations

import gzip
import json
import lzma
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from quality import source_folder

SETS = ("eurlex57k", "wordnet", "scifact", "icd10cm")
FILES = ("labels", "train", "dev", "test")
OPENERS = {".gz": gzip.open, ".xz": lzma.open}
END = re.compile(r"(?<=[.;?!])\s+|\n+")
FEWEST_WORDS = 3


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, white space as single blanks."""
    for part in END.split(text):
        words = part.split()
        if len(words) >= FEWEST_WORDS:
            yield " ".join(words)


def texts(folder: Path) -> Iterator[str]:
    """All texts of a data set, labels first."""
    for stem in FILES:
        for path in sorted(folder.glob(f"{stem}.jsonl.*")):
            with OPENERS[path.suffix](path, "rt", encoding="utf-8") as lines:
                yield from (json.loads(line)["text"] for line in lines)


def main(out: Path) -> None:
    """Write the file; a data set that is absent is an error, for then the lines would be others."""
    folders = [source_folder(name) for name in SETS]
    if None in folders:
        raise SystemExit("nothing was written: all of these data sets are needed: " + ", ".join(SETS))
    found = dict.fromkeys(line for folder in folders if folder for text in texts(folder) for line in sentences(text))
    lines = list(found)
    random.Random(0).shuffle(lines)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines):,} sentences in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
