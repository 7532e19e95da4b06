"""EURLEX57K: decoupled softmax against InfoNCE and binary cross-entropy, everything else equal; and the plain encoder.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_eurlex57k.py [WORK_FOLDER]

Settings were chosen on the dev split; the test split is read once for each subject. Losing rows are kept.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from quality import cost_rows, imported, quality_rows, run_subject
from record import record

QUESTION = "EURLEX57K quality by loss"
FIGURES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@5", "R@10", "R@100")
DOCUMENTS = "dexml.documents"
SUBJECTS = {
    "decoupled softmax": (DOCUMENTS, ()),
    "InfoNCE": (DOCUMENTS, ("loss.name=baselines.info-nce",)),
    "binary cross-entropy": (DOCUMENTS, ("loss.name=baselines.binary-cross-entropy",)),
    "binary cross-entropy summed": (DOCUMENTS, ("loss.name=baselines.binary-cross-entropy", "loss.reduction=sum")),
    "decoupled softmax without opening words": (DOCUMENTS, ("encoder.opening=0",)),
    "decoupled softmax label words only": (DOCUMENTS, ("encoder.label_pairs=false",)),
    "decoupled softmax plain token means": (
        DOCUMENTS,
        ("encoder.name=static", "encoder.dimension=384", "encoder.similarity=dot", "encoder.shared=false",
         "encoder.ngrams_longest=0", "encoder.vocabulary_size=30000", "train.learning_rate=4.0",
         "train.label_learning_rate=0.05"),
    ),
}  # fmt: skip


def main(work: Path, chosen: list[str]) -> None:
    """Run every subject and write results/eurlex57k.csv."""
    data = imported("eurlex57k", work)
    if data is None:
        return
    rows: list[dict[str, object]] = []
    for name, (plugin, settings) in SUBJECTS.items():
        if chosen and name not in chosen:
            continue
        subject = run_subject(name, data=data, plugin=plugin, settings=settings, work=work)
        rows += quality_rows(subject, QUESTION, FIGURES, baseline="decoupled softmax")
        rows += cost_rows(subject, QUESTION, baseline="decoupled softmax")
        record(Path(__file__).parent / "results" / "eurlex57k.csv", rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary), sys.argv[2:])
