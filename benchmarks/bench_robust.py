"""Robust training: how many answers become certified against substitutions, and what that costs in precision and time.

    python benchmarks/bench_robust.py [--data icd10cm scifact] [--sample 500] [--split test] [--work FOLDER] [--keep]

Trains each data set as it is, with random substitutions and with worst-case substitutions (the recipes of the plugin
`robust`), and certifies a sample of the held-out queries exactly, on the query's side. All but ICD-10-CM are read from
the folder that XMC_BENCHMARK_DATA names; of EURLEX57K the first 4,000 training documents, with the static encoder of
check_runs.py. What is measured replaces earlier rows of the same data set. `--split dev` is for choosing settings
(`--set` adds some, `--only` names the subjects); `--keep` measures runs that are in the work folder already.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from check_runs import RUNS, first_queries
from quality import Subject, cost_rows, imported, quality_rows, run_subject
from record import beside_earlier, record

from xmc.api import CheckResult
from xmc.checks.certify import Certify
from xmc.engine.checking import open_context
from xmc.engine.held_out import held_out
from xmc.engine.run_config import read_run_config
from xmc.engine.training_set import load_for_training
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.testing.check_cases import Recorder

RESULTS = Path(__file__).parent / "results" / "robust.csv"
SUBJECTS = {"no augmentation": "dexml", "random substitutions": "robust.random", "worst-case substitutions": "robust"}
BASELINE = "no augmentation"
SETTINGS = {
    "icd10cm": (),
    "scifact": ("train.batch_size=128", "train.epochs=10"),
    "wordnet": ("train.label_scope=sampled", "train.sampled_labels=4096", "train.epochs=4"),
    "eurlex57k": RUNS["eurlex57k-static"].settings,
}
FIRST_QUERIES = {"eurlex57k": RUNS["eurlex57k-static"].train_queries}
RADII = (1, 2, 3)
KS = (1, 5, 10)
Row = dict[str, object]


def certified(run: Path, *, split: str, sample: int, substitutions: str) -> tuple[CheckResult, float]:
    """The exact certificates of a sample of queries, without attacks, and the seconds they took."""
    plugins = load_plugins()
    config = read_run_config(plugins, run)
    data = load_for_training(config)
    retriever = Retriever.load(run, device="cpu", plugins=plugins)
    context = open_context(config, run, data, retriever, held_out(data, retriever, split=split))
    context = replace(context, new_version=Recorder().new_version)
    check = Certify(KS, RADII, substitutions, sides=("query",), sample=sample, attacks=0, greedy=0)
    started = time.perf_counter()
    return check.run(context), time.perf_counter() - started


def certificate_rows(run: Path, subject: Subject, question: str, **options: object) -> list[Row]:
    """A row for each share of certified lists, and of relevant first answers that nothing can displace, in percent."""
    result, seconds = certified(run, **options)  # type: ignore[arg-type]
    baseline = "" if subject.name == BASELINE else BASELINE
    config = f"{subject.config} sample={options['sample']}"
    shared = {"question": question, "subject": subject.name, "baseline": baseline, "config": config}
    rows: list[Row] = []
    wanted = [f"query_certified_at_{k}_radius_{radius}" for radius in RADII for k in KS]
    for name in [*wanted, *(f"query_kept_precision_at_1_radius_{radius}" for radius in RADII)]:
        figure = result.figures[name]
        ends = {"low95": round(100 * (figure.low or 0), 2), "high95": round(100 * (figure.high or 0), 2)}
        label = name.removeprefix("query_").replace("_", " ")
        rows.append({**shared, "x": label, "median": round(100 * figure.value, 2), **ends, "unit": "%"})
    rows.append({**shared, "x": "certify, wall", "median": round(seconds, 1), "unit": "s"})
    return rows


def measured(name: str, data: str, options: argparse.Namespace, work: Path) -> list[Row]:
    """All rows of one subject on one data set."""
    kind = Path(data).name.split("-")[0]
    question, plugin = f"robust training on {kind}", SUBJECTS[name]
    settings = (*SETTINGS[kind], *options.set)
    run = work / f"run-{name.replace(' ', '-')}"
    if options.keep and (run / "report.json").is_file():
        subject = kept(name, run, f"plugin={plugin} {' '.join(settings)}")
    else:
        subject = run_subject(name, data=data, plugin=plugin, settings=settings, work=work, split=options.split)
    baseline = "" if name == BASELINE else BASELINE
    rows = quality_rows(subject, question, ("P@1", "R@10"), baseline=baseline)
    rows += cost_rows(subject, question, baseline=baseline)[:3] if subject.train_cost else []
    rows.append(
        {"question": question, "subject": name, "x": "train", "median": subject.training["train_s"], "unit": "s"}
    )
    if "augmentation" in subject.training:
        facts = subject.training["augmentation"]
        shared = {"question": question, "subject": name, "baseline": baseline, "config": subject.config}
        rows.append({**shared, "x": "augmentation", "median": facts["seconds"], "unit": "s"})
        rows.append({**shared, "x": "rewritten", "median": round(100 * facts["rewritten_share"], 1), "unit": "%"})
    certificate = {"split": options.split, "sample": options.sample, "substitutions": options.substitutions}
    return rows + certificate_rows(run, subject, question, **certificate)


def kept(name: str, run: Path, config: str) -> Subject:
    """A run that was trained and evaluated before; what its processes cost is not known any more."""
    report, training = (json.loads((run / f"{part}.json").read_text(encoding="utf-8")) for part in ("report", "train"))
    return Subject(name, report, training, None, None, config)  # type: ignore[arg-type]


def main() -> None:
    """Measure the data sets that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["icd10cm", "scifact"], choices=list(SETTINGS))
    parser.add_argument("--only", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--sample", type=int, default=500)
    parser.add_argument("--split", default="test")
    parser.add_argument("--substitutions", default="counterfitted")
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.data:
            work = (options.work or Path(temporary)) / name
            work.mkdir(parents=True, exist_ok=True)
            data = name if name == "icd10cm" else imported(name, work)
            if data and name in FIRST_QUERIES:
                data = first_queries(Path(data), FIRST_QUERIES[name])
            for subject in options.only if data else ():
                rows += measured(subject, data, options, work)
    for row in rows:
        print(row["question"], row["subject"], row["x"], row["median"], row.get("low95", ""), sep="\t")
    record(options.results, beside_earlier(options.results, rows))


if __name__ == "__main__":
    main()
