"""xmc beside Omikuji Bonsai and PECOS XR-Linear: the same texts, one script, judged by the same metrics.

    sh benchmarks/peers/install.sh PEERS
    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_best_recipe.py --peers PEERS [--data geonames] [--repeats 3]

Each subject trains in a process of its own and predicts in another; processor seconds and peak memory are those of the
whole process, reading and vectorising included. A peer that is not installed is skipped. Peers answer with labels that
have a training query and no others: outside EURLEX57K read the zero-shot rows with this in mind. `geonames` is made by
make_geonames.py; its texts are single names, so that the peers' features are runs of characters there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from quality import Subject, cost_rows, imported, measured, quality_rows, run_subject, xmc
from record import beside_earlier, record, spread

from xmc.data.dataset import Dataset, load_dataset
from xmc.evaluate.report import evaluate_hits
from xmc.machine import cores
from xmc.values import Hits

SCRIPTS = Path(__file__).parent / "peers"
FIGURES = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@5", "R@10", "R@100")
BANDS = ("head", "torso", "tail", "zero-shot")
BASELINE = "Omikuji Bonsai"
UNSEEN = "labels without a training query are never answered;"
OURS = {
    "eurlex57k": {
        "xmc linear.fused": ("linear.fused", ()),
        "xmc linear.fused in bfloat16": ("linear.fused", ("train.precision=bfloat16",)),
        "xmc linear.fused, first stage alone": ("linear.fused", ("reranker.name=none",)),
        "xmc linear": ("linear", ()),
        "xmc dexml.documents": ("dexml.documents", ()),
        "xmc dexml": ("dexml", ()),
        "xmc linear.fused-short": ("linear.fused-short", ()),
    },
    "wordnet": {
        "xmc dexml": ("dexml", ("train.epochs=4", "train.label_scope=sampled")),
        "xmc linear.fused-short": ("linear.fused-short", ("train.epochs=4", "train.label_scope=sampled")),
    },
    "geonames": {
        "xmc dexml": ("dexml", ()),
        "xmc dexml.frequent": ("dexml.frequent", ()),
        "xmc linear.fused-short": ("linear.fused-short", ()),
    },
}


@dataclass(frozen=True)
class Peer:
    """A library beside xmc: the folder of its environment, its script, and the options of its two commands."""

    environment: str
    script: str
    training: tuple[str, ...] = ()
    prediction: tuple[str, ...] = ()


CHARACTERS = ("--tfidf", "characters")
PEERS = {
    "Omikuji Bonsai": Peer("omikuji", "run_omikuji.py", ("--trees", "3"), ("--beam", "10")),
    "PECOS own TF-IDF": Peer("pecos", "run_pecos.py", ("--tfidf", "own"), ("--beam", "10")),
    "PECOS scikit-learn TF-IDF": Peer("pecos", "run_pecos.py", ("--tfidf", "words"), ("--beam", "50")),
}
OF_CHARACTERS = {
    "Omikuji Bonsai": Peer("omikuji", "run_omikuji.py", ("--trees", "3", *CHARACTERS), ("--beam", "10")),
    "PECOS": Peer("pecos", "run_pecos.py", CHARACTERS, ("--beam", "50")),
}
BESIDE = {"eurlex57k": PEERS, "wordnet": PEERS, "geonames": OF_CHARACTERS}


@dataclass(frozen=True)
class Run:
    """One repetition of a subject: what it found and cost, and the size of what its predictions are made from."""

    subject: Subject
    model_mb: float


def run_ours(name: str, *, options: argparse.Namespace, data: str, work: Path) -> Run:
    """Train and evaluate a recipe of xmc through its command line."""
    plugin, settings = OURS[options.data][name]
    subject = run_subject(name, data=data, plugin=plugin, settings=settings, work=work, split=options.split)
    run = work / f"run-{name.replace(' ', '-')}"
    return Run(subject, served_mb(run))


def run_peer(name: str, *, python: Path, options: argparse.Namespace, data: str, work: Path) -> Run:
    """Train a peer, let it predict, and judge its answers as xmc judges its own."""
    peer = BESIDE[options.data][name]
    folder = work / f"run-{name.replace(' ', '-')}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, answers = folder / "model", folder / "answers.npz"
    command = [str(python), str(SCRIPTS / peer.script)]
    shared = ["--data", data, "--model", str(model), "--threads", str(options.threads)]
    train_cost = measured([*command, "train", *shared, *peer.training], f"{name}, train", log=folder / "train.log")
    asked = ["--split", options.split, "--out", str(answers), *peer.prediction]
    predict_cost = measured([*command, "predict", *shared, *asked], f"{name}, predict", log=folder / "predict.log")
    said = json.loads(answers.with_suffix(".json").read_text(encoding="utf-8"))
    report = {
        "evaluation": judged(answers, load_dataset(Path(data)), options.split),
        "search": {"queries_per_s": said["queries"] / said["predict_wall_s"]},
    }
    versions = [f"{library}=={version}" for library, version in said["versions"].items()]
    config = " ".join([*peer.training, *peer.prediction, *versions, f"split={options.split}", UNSEEN])
    training = {"plan": {"threads": options.threads}}
    return Run(Subject(name, report, training, train_cost, predict_cost, config), folder_mb(model))


def judged(answers: Path, data: Dataset, split: str) -> dict[str, object]:
    """The evaluation report of a peer's answers, with xmc's metrics and the same constants.

    Raises: SystemExit when the peer did not see the queries that xmc sees.
    """
    queries = data.splits[split]
    with np.load(answers, allow_pickle=False) as found:
        if found["query_ids"].tolist() != queries.ids:
            raise SystemExit(f"{answers}: the queries are not those of the split '{split}'.")
        hits = Hits(found["offsets"], found["label_rows"], found["scores"])
    counts_L = data.train_counts()
    return evaluate_hits(hits, queries.positives, train_counts_L=counts_L, train_queries=len(data.train)).to_dict()


def served_mb(run: Path) -> float:
    """Size of what a run of xmc answers queries with: the newest version of each part, without checkpoint and hits."""
    parts = [part for part in run.iterdir() if (part / "CURRENT").is_file() and part.name != "checkpoint"]
    return sum(folder_mb(max(version for version in part.iterdir() if version.is_dir())) for part in parts)


def folder_mb(folder: Path) -> float:
    """Size of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def rows_of(runs: Sequence[Run], question: str) -> list[dict[str, object]]:
    """Quality of the first run, costs of all: the median, and where repeated the spread."""
    first = runs[0].subject
    rows = _qualities(first, question)
    for same in zip(*(_costs(run, question) for run in runs), strict=True):
        values = [float(str(row["median"])) for row in same]
        row = same[0] | {"config": f"{first.config} repeats={len(runs)}"}
        if len(values) > 1:
            row |= dict(zip(("median", "p20", "p80"), (round(value, 3) for value in spread(values)), strict=True))
        rows.append(row)
    return rows


def _qualities(subject: Subject, question: str) -> list[dict[str, object]]:
    rows = quality_rows(subject, question, FIGURES, baseline=BASELINE)
    for band in BANDS:
        rows += quality_rows(subject, question, ("P@1", "P@5", "R@100"), baseline=BASELINE, group=band)
    return rows


def _costs(run: Run, question: str) -> list[dict[str, object]]:
    rows = cost_rows(run.subject, question, baseline=BASELINE)
    predicted = {
        "predict processor": (run.subject.evaluate_cost.processor_s, "s"),
        "predict peak memory": (run.subject.evaluate_cost.peak_mb, "MB"),
        "model": (run.model_mb, "MB"),
    }
    return rows + [
        rows[0] | {"x": x, "median": round(value, 3), "unit": unit} for x, (value, unit) in predicted.items()
    ]


def with_ratios(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The rows of costs with the baseline's median over their own: above 1 is less than the baseline's."""
    costs = {row["x"]: float(str(row["median"])) for row in rows if row["subject"] == BASELINE and row["unit"] != "%"}
    return [
        row | {"ratio": f"{costs[row['x']] / float(str(row['median'])):.2f}"} if row["x"] in costs else row
        for row in rows
    ]


def installed(name: str, options: argparse.Namespace) -> Path | None:
    """The interpreter of a peer's environment; None, with a message, where there is none."""
    environment = BESIDE[options.data][name].environment
    given: Path | None = getattr(options, f"{environment}_python")
    python = given or options.peers / environment / "bin" / "python"
    if python.is_file():
        return python
    print(f"skipped: {name} is not installed; sh benchmarks/peers/install.sh {options.peers}")
    return None


def judge(run: Path, options: argparse.Namespace) -> None:
    """Write the quality of a finished run beside the rows that are there; what it cost is not known."""
    cost = xmc("evaluate", "--run", str(run), "--split", options.split)
    report, training = (json.loads((run / f"{name}.json").read_text(encoding="utf-8")) for name in ("report", "train"))
    config = f"a finished run, costs not measured split={options.split}"
    subject = Subject(options.only[0], report, training, cost, cost, config)
    path = options.out or _results(options.data)
    record(path, beside_earlier(path, _qualities(subject, f"{options.data} best recipe")))


def main(options: argparse.Namespace, work: Path) -> None:
    """Run every subject, in turn, and write the results after each."""
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "RAYON_NUM_THREADS": str(options.threads)}
    data = imported(options.data, work)
    if data is None:
        return
    question = f"{options.data} best recipe"
    pythons = {name: python for name in BESIDE[options.data] if (python := installed(name, options))}
    names = [name for name in (*pythons, *OURS[options.data]) if not options.only or name in options.only]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name in names:
            if name in pythons:
                run = run_peer(name, python=pythons[name], options=options, data=data, work=work)
            else:
                run = run_ours(name, options=options, data=data, work=work)
            runs[name].append(run)
            rows = [row for done in runs.values() if done for row in rows_of(done, question)]
            path = options.out or _results(options.data)
            record(path, beside_earlier(path, with_ratios(rows)))


def _results(data: str) -> Path:
    name = "best_recipe" if data == "eurlex57k" else f"best_recipe_{data}"
    return Path(__file__).parent / "results" / f"{name}.csv"


def command_line() -> argparse.Namespace:
    """The options of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="?", type=Path, help="folder for data and runs; a temporary one if left out")
    parser.add_argument("--data", choices=sorted(OURS), default="eurlex57k")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder of peers/install.sh")
    parser.add_argument("--pecos-python", type=Path, help="interpreter with libpecos, instead of the one in --peers")
    parser.add_argument("--omikuji-python", type=Path, help="interpreter with omikuji, instead of the one in --peers")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", action="append", help="a subject; may be given several times")
    parser.add_argument("--judge", type=Path, help="a finished run of --only: its quality alone is measured")
    parser.add_argument("--out", type=Path, help="another file than results/best_recipe.csv")
    given = parser.parse_args()
    if given.judge and len(given.only or ()) != 1:
        parser.error("--judge wants the name of the run's subject: one --only")
    return given


if __name__ == "__main__":
    chosen = command_line()
    if chosen.judge:
        judge(chosen.judge, chosen)
        raise SystemExit
    with tempfile.TemporaryDirectory() as temporary:
        main(chosen, chosen.work or Path(temporary))
