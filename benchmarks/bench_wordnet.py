"""WordNet: from a gloss to its lemmas among 147,306 labels; labels seen in training and labels never seen, apart.

XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_wordnet.py [WORK_FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from quality import cost_rows, imported, quality_rows, run_subject
from record import record

QUESTION = "WordNet quality"
FIGURES = ("P@1", "R@10", "R@100", "MRR@100")
SUBJECTS = {
    "sampled labels": ("train.epochs=4", "train.label_scope=sampled", "train.sampled_labels=4096"),
    "all labels": ("train.epochs=2", "train.batch_size=1024"),
}


def main(work: Path, chosen: list[str]) -> None:
    """Run both label scopes and write results/wordnet.csv."""
    data = imported("wordnet", work)
    if data is None:
        return
    rows: list[dict[str, object]] = []
    for name, settings in SUBJECTS.items():
        if chosen and name not in chosen:
            continue
        subject = run_subject(name, data=data, plugin="dexml", settings=settings, work=work)
        for group in ("overall", "torso", "tail", "zero-shot"):
            rows += quality_rows(subject, QUESTION, FIGURES, group=group)
        rows += cost_rows(subject, QUESTION)
        record(Path(__file__).parent / "results" / "wordnet.csv", rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary), sys.argv[2:])
