"""A mixture of experts beside the dense layer of equal compute: P@1 on EURLEX57K, K = 1, 2, 4 of 8 experts kept.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_moe.py WORK_FOLDER [--documents 10000] [--split test] [--rate R]
        [SUBJECT ...]

The static encoder with the settings of check_runs.py, on the first training documents, without a layer, with K experts
for every text (dense: K products of width x width, all kept), and with K of 8. `rate` was chosen on the dev split with
2 of 8 experts and 4,000 documents, from 0.0003, 0.001 and 0.003; nothing else was tuned. Test is read once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from check_runs import STATIC, first_queries
from quality import Subject, cost_rows, imported, quality_rows, run_subject
from record import beside_earlier, record

from xmc.encode.expert_shares import expert_shares
from xmc.engine.run_config import read_run_config
from xmc.engine.training_set import load_for_training
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever

RESULTS = Path(__file__).parent / "results" / "moe.csv"
QUESTION = "mixture of experts on EURLEX57K, {documents} documents"
BASELINE = "no layer"
EXPERTS, KEPT = 8, (1, 2, 4)
SUBJECTS = {
    BASELINE: (0, 0),
    **{f"dense, {kept} of {kept}": (kept, kept) for kept in KEPT},
    **{f"sparse, {kept} of {EXPERTS}": (EXPERTS, kept) for kept in KEPT},
}


def settings_of(experts: int, kept: int, rate: float) -> tuple[str, ...]:
    """The settings of a subject."""
    if not experts:
        return STATIC
    others = tuple(setting for setting in STATIC if not setting.startswith("encoder.name"))
    mixture = ("encoder.name=moe-static", f"encoder.experts={experts}", f"encoder.kept={kept}", f"encoder.rate={rate}")
    return (*others, *mixture)


def rows_of(subject: Subject, run: Path, question: str, split: str) -> list[dict[str, object]]:
    """Quality and cost, and the largest and smallest share of the texts that an expert has."""
    rows = quality_rows(subject, question, ("P@1", "P@3", "P@5", "PSP@5"), baseline=BASELINE)
    rows += cost_rows(subject, question, baseline=BASELINE)[1:3]
    if subject.name.startswith("sparse"):
        data = load_for_training(read_run_config(load_plugins(), run))
        shares_E = expert_shares(Retriever.load(run, device="cpu").encoder, data.splits[split].texts, "query")
        for x, share in (("largest share", shares_E.max()), ("smallest share", shares_E.min())):
            rows.append({**rows[0], "x": x, "median": round(100 * share.item(), 1), "low95": "", "high95": ""})
    return rows


def main() -> None:
    """Measure the subjects and write their rows beside the earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS))
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--split", default="test")
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = imported("eurlex57k", options.work)
    if data is None:
        return
    data = first_queries(Path(data), options.documents)
    question = QUESTION.format(documents=f"{options.documents:,}")
    for name in options.subjects:
        settings = settings_of(*SUBJECTS[name], options.rate)
        subject = run_subject(
            name, data=data, plugin="dexml.documents", settings=settings, work=options.work, split=options.split
        )
        rows = rows_of(subject, options.work / f"run-{name.replace(' ', '-')}", question, options.split)
        record(options.results, beside_earlier(options.results, rows))
        for row in rows:
            print(name, row["x"], row["median"], row["unit"], sep="\t", flush=True)


if __name__ == "__main__":
    main()
