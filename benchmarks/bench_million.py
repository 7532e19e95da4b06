"""A million labels, end to end: what training, index and evaluation need, and what training adds to matching words.

    python benchmarks/bench_million.py sentences.txt [WORK_FOLDER]

The labels are the first 1,000,000 lines of what `make_sentences.py` writes. A query has half of the words of one,
drawn at random, in order: 200,000 to train on, 2,000 held out, 10,000 to test, no sentence twice.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from quality import Subject, cost_rows, quality_rows, run_subject, xmc
from record import record

LABELS = 1_000_000
QUERIES = {"train": 200_000, "dev": 2_000, "test": 10_000}
QUESTION = f"{LABELS:,} sentences by half their words"
FIGURES = ("P@1", "R@10", "R@100")


def half_of(text: str, chance: random.Random) -> str:
    """Half of the words of a text, two at least, in their order."""
    words = text.split()
    kept = sorted(chance.sample(range(len(words)), max(2, len(words) // 2)))
    return " ".join(words[place] for place in kept)


def write_lines(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """A table as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_data(sentences: Path, folder: Path) -> Path:
    """The data set, imported. Raises: SystemExit for a file with fewer lines."""
    with sentences.open(encoding="utf-8") as lines:
        texts = [line.rstrip("\n") for line, _ in zip(lines, range(LABELS), strict=False)]
    if len(texts) < LABELS:
        raise SystemExit(f"{sentences} has {len(texts):,} lines, and {LABELS:,} are needed")
    raw, chance = folder / "raw", random.Random(0)
    raw.mkdir(parents=True, exist_ok=True)
    write_lines(raw / "labels.jsonl", [{"id": f"s{row:06}", "text": text} for row, text in enumerate(texts)])
    asked = iter(chance.sample(range(LABELS), sum(QUERIES.values())))
    for split, count in QUERIES.items():
        rows = [next(asked) for _ in range(count)]
        lines_of = [
            {"id": f"{split}{row}", "text": half_of(texts[row], chance), "labels": [f"s{row:06}"]} for row in rows
        ]
        write_lines(raw / f"{split}.jsonl", lines_of)
    xmc("import", str(raw), "--out", str(folder / "data"), "--overwrite")
    return folder / "data"


def rows_of(subject: Subject, baseline: str) -> list[dict[str, object]]:
    """Quality and costs of a run."""
    evaluating = {"x": "evaluate wall", "median": round(subject.evaluate_cost.wall_s, 3), "unit": "s"}
    first = cost_rows(subject, QUESTION, baseline=baseline)
    return [*quality_rows(subject, QUESTION, FIGURES, baseline=baseline), *first, {**first[0], **evaluating}]


def main(sentences: Path, work: Path) -> None:
    """Make the data, train and evaluate, record."""
    data = make_data(sentences, work)
    rows: list[dict[str, object]] = []
    for name, epochs in (("words alone", 0), ("xmc dexml, 1 epoch", 1)):
        subject = run_subject(name, data=str(data), plugin="dexml", settings=[f"train.epochs={epochs}"], work=work)
        rows += rows_of(subject, "words alone")
    record(Path(__file__).parent / "results" / "million.csv", rows)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else folder))
