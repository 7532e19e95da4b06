"""The tables of figures, made from results/*.csv: python benchmarks/readme_table.py (or: make docs).

docs/figures.md has all of them and where each was measured, README.md the few that a first look wants. A table stands
between two marks; what is outside them is left alone. A test compares both with the results.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
PAGE = README.parent / "docs" / "figures.md"
START, END = "<!-- figures:start -->", "<!-- figures:end -->"
HEADER = ("| what | xmc | beside it | repeat with |", "|---|---|---|---|")
NOTE = "Quality in per cent with 95 % bootstrap interval; repeated times as median (20th–80th percentile)."
Row = dict[str, str]


@dataclass(frozen=True)
class Pick:
    """One line of the table: a file, the value of its column `x`, and the subjects on either side.

    `question` chooses among the rows of a file that answers several.
    A subject of xmc must be in the file; of the others those that are not are left out.
    """

    file: str
    x: str
    what: str
    ours: tuple[str, ...]
    others: tuple[str, ...] = ()
    question: str = ""


ICD = ("dexml",)
LEXICAL = ("character 3-5-gram TF-IDF", "word TF-IDF")
EURLEX = ("decoupled softmax",)
LOSSES = ("InfoNCE", "binary cross-entropy")
EXACT = ("xmc exact int8", "xmc exact float32")
FAISS = ("faiss.IndexFlatIP", "faiss.IndexFlatIP tuned")
WORDNET = ("all labels", "sampled labels")
FUSED = ("xmc linear.fused", "xmc linear.fused in bfloat16")
SHORT = ("xmc dexml", "xmc linear.fused-short")
PLACES = ("xmc dexml", "xmc dexml.frequent", "xmc linear.fused-short")
PEERS = ("Omikuji Bonsai", "PECOS own TF-IDF", "PECOS scikit-learn TF-IDF")
STEP_TIME = "step time vs labels, d=128"
STEP = ("factored Z-loss", "sampled labels", "decoupled softmax", "soft top-k")
DENSE = ("three products", "dense log-softmax")
NEWTON, LIBLINEAR = ("xmc newton",), ("scikit-learn",)
CLASSIFIERS = {loss: f"a label's classifier, {loss}" for loss in ("logistic", "squared-hinge")}
THREADS = {1: "one thread", 2: "two threads"}
PREDICT = ("xmc predict, a shard",)
ADDED, REBUILT = ("add 1, editor, reload, search",), ("rebuild and load",)
SCRIPTS = {
    "predict": "bench_predict.py --run runs/quickstart",
    "best_recipe_wordnet": "bench_best_recipe.py --data wordnet",
    "best_recipe_geonames": "bench_best_recipe.py --data geonames",
    "best_recipe_geonames_gpu": 'bench_best_recipe.py --data geonames --only "xmc dexml"',
    "million": "bench_million.py sentences.txt",
    "serve": "bench_serve.py RUN",
    "serve_faults": "bench_serve_faults.py RUN",
}
SERVICES = (("xmc serve",), ("bare FastAPI + faiss",))
MILLION = ("xmc dexml, 1 epoch",)
GEONAMES = ("Omikuji Bonsai", "PECOS")
PICKS = (
    Pick("icd10cm", "P@1", "ICD-10-CM test, P@1", ICD, LEXICAL),
    Pick("icd10cm", "R@10", "ICD-10-CM test, R@10", ICD, LEXICAL),
    Pick("icd10cm", "R@100", "ICD-10-CM test, R@100", ICD, LEXICAL),
    Pick("icd10cm", "R@10 zero-shot", "ICD-10-CM test, codes without a training query, R@10", ICD),
    Pick("icd10cm", "train wall", "ICD-10-CM, `xmc train`, wall", ICD),
    Pick("icd10cm", "train peak memory", "ICD-10-CM, `xmc train`, peak memory", ICD),
    *(Pick("eurlex57k", x, f"EURLEX57K test, a loss alone, {x}", EURLEX, LOSSES) for x in ("P@1", "P@5", "PSP@5")),
    Pick("wordnet", "P@1", "WordNet test, ways to train, P@1", WORDNET),
    Pick("wordnet", "R@100", "WordNet test, ways to train, R@100", WORDNET),
    Pick("wordnet", "R@100 tail", "WordNet test, ways to train, lemmas with 1 to 9 glosses, R@100", WORDNET),
    Pick("wordnet", "R@100 zero-shot", "WordNet test, ways to train, lemmas never trained on, R@100", WORDNET),
    *(
        Pick("best_recipe_wordnet", x, f"WordNet test, {name}", SHORT, PEERS)
        for x, name in (
            ("P@1", "P@1"),
            ("P@1 torso", "lemmas with 10 to 49 training glosses, P@1"),
            ("P@1 tail", "lemmas with 1 to 9, P@1"),
            ("P@1 zero-shot", "lemmas never trained on, P@1"),
            ("R@100 torso", "lemmas with 10 to 49 training glosses, R@100"),
            ("R@100 tail", "lemmas with 1 to 9, R@100"),
            ("R@100 zero-shot", "lemmas never trained on, R@100"),
        )
    ),
    *(
        Pick("best_recipe_geonames", x, f"GeoNames test, {name}", PLACES, GEONAMES)
        for x, name in (
            ("P@1", "P@1"),
            ("R@10", "R@10"),
            ("R@100", "R@100"),
            ("P@1 head", "places with 50 training names and more, P@1"),
            ("P@1 zero-shot", "places without a training name, P@1"),
            ("R@100 zero-shot", "places without a training name, R@100"),
        )
    ),
    Pick("best_recipe_geonames", "train processor", "GeoNames, training, processor seconds", ("xmc dexml",), GEONAMES),
    *(
        Pick("best_recipe_geonames_gpu", x, f"GeoNames on an H100, against all labels, {name}", ("xmc dexml",))
        for x, name in (("P@1", "test P@1"), ("R@100", "test R@100"), ("train wall", "`xmc train`, wall"))
    ),
    *(
        Pick("million", x, f"1,000,000 sentences by half their words, {name}", MILLION, ("words alone",))
        for x, name in (
            ("P@1", "P@1"),
            ("R@10", "R@10"),
            ("train wall", "`xmc train`, wall"),
            ("train peak memory", "`xmc train`, peak memory"),
        )
    ),
    *(Pick("best_recipe", x, f"EURLEX57K test, {x}", FUSED, PEERS) for x in ("P@1", "P@3", "P@5", "PSP@5")),
    Pick("best_recipe", "train processor", "EURLEX57K, training, all included, processor seconds", FUSED[:1], PEERS),
    Pick("best_recipe", "encode and search", "EURLEX57K, a text encoded and searched, of many", FUSED[:1], PEERS),
    *(
        Pick(
            "linear_fit",
            rows,
            f"a label's linear classifier over {rows} short texts, {loss}",
            NEWTON,
            LIBLINEAR,
            question,
        )
        for rows in ("270", "2100")
        for loss, question in CLASSIFIERS.items()
    ),
    *(
        Pick("step_time", str(labels), f"a step over {labels:,} labels, batch 256, d = 128", STEP, DENSE, STEP_TIME)
        for labels in (100_000, 1_000_000)
    ),
    *(
        Pick(
            "exact_search",
            batch,
            f"exact search, 1,000,000 × 384, k = 10, {name}, batch of {batch}",
            EXACT,
            FAISS,
            f"exact search vs batch, 1,000,000 × 384, {threads} threads",
        )
        for threads, name in THREADS.items()
        for batch in ("1", "8", "64", "256")
    ),
    *(
        Pick(
            "index_curve_gpu",
            "1.0000",
            f"exact search on an H100, 1,000,000 × 384, k = 10, batch of {batch}",
            ("exact",),
            ("raw faiss Flat",),
            f"queries a second at batch {batch}, 1,000,000 labels",
        )
        for batch in (1, 64, 1024)
    ),
    Pick(
        "training_gpu",
        "46881",
        "a training step over 46,881 labels, batch 512, on an H100",
        ("xmc, cuda",),
        ("three products, cuda",),
    ),
    Pick(
        "predict", "8192", "`xmc predict`, rows a second, one thread", PREDICT, ("bare loop",), "predict vs bare loop"
    ),
    Pick("labels", "synthetic, 1,000,000 labels", "a label added to 1,000,000, until it is found", ADDED, REBUILT),
    *(
        Pick(
            "serve",
            f"per_s at {clients} clients",
            f"service, {labels:,} labels, {clients} clients, answers a second",
            *SERVICES,
            f"service, {labels} labels",
        )
        for labels in (46_881, 1_000_000)
        for clients in (1, 64)
    ),
    Pick("serve_faults", "wrong", "service, wrong answers of 20,074 under 226 changes of labels", ("xmc serve",)),
)
FIRST_LOOK = (
    "ICD-10-CM test, P@1",
    "ICD-10-CM test, codes without a training query, R@10",
    "ICD-10-CM, `xmc train`, wall",
    "EURLEX57K test, P@1",
    "EURLEX57K test, P@5",
    "EURLEX57K, training, all included, processor seconds",
    "WordNet test, P@1",
    "WordNet test, lemmas with 10 to 49 training glosses, P@1",
    "WordNet test, lemmas never trained on, R@100",
    "GeoNames test, P@1",
    "GeoNames test, R@10",
    "GeoNames, training, processor seconds",
    "GeoNames on an H100, against all labels, `xmc train`, wall",
    "1,000,000 sentences by half their words, `xmc train`, wall",
    "a step over 1,000,000 labels, batch 256, d = 128",
    "exact search, 1,000,000 × 384, k = 10, two threads, batch of 1",
    "exact search, 1,000,000 × 384, k = 10, two threads, batch of 64",
    "exact search on an H100, 1,000,000 × 384, k = 10, batch of 64",
    "`xmc predict`, rows a second, one thread",
    "a label added to 1,000,000, until it is found",
    "service, 46,881 labels, 64 clients, answers a second",
    "service, wrong answers of 20,074 under 226 changes of labels",
)  # in the README, in this order


def table(picks: Sequence[Pick] = PICKS, results: Path = RESULTS) -> str:
    """The lines of the table, and under it the circumstances of each file; files that are not there are left out."""
    files = _files(picks, results)
    return "\n".join([*_lines(picks, files), "", NOTE, "", *(_circumstances(name, files[name]) for name in files)])


def first_look(results: Path = RESULTS) -> str:
    """The README's table, without circumstances."""
    picks = {pick.what: pick for pick in PICKS}
    chosen = [picks[what] for what in FIRST_LOOK]
    return "\n".join([*_lines(chosen, _files(chosen, results)), "", NOTE])


def _files(picks: Sequence[Pick], results: Path) -> dict[str, list[Row]]:
    return {name: read_rows(path) for name in _names(picks) if (path := results / f"{name}.csv").is_file()}


def _lines(picks: Sequence[Pick], files: Mapping[str, list[Row]]) -> list[str]:
    return [*HEADER, *(_line(pick, files[pick.file]) for pick in picks if pick.file in files)]


def filled(text: str, content: str) -> str:
    """`text` with `content` between the two marks.

    Raises: ValueError when the marks are not there once each, in order.
    """
    before, start, rest = text.partition(START)
    old, end, after = rest.partition(END)
    if not (start and end) or START in old + after or END in after:
        raise ValueError(f"the text must hold {START} and {END} once each, in this order")
    return f"{before}{START}\n{content}\n{END}{after}"


def _names(picks: Sequence[Pick]) -> list[str]:
    return list(dict.fromkeys(pick.file for pick in picks))


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _line(pick: Pick, rows: list[Row]) -> str:
    found = {row["subject"]: row for row in rows if row["x"] == pick.x and pick.question in ("", row.get("question"))}
    missing = [name for name in pick.ours if name not in found]
    if missing:
        raise ValueError(f"results/{pick.file}.csv has no row of '{missing[0]}' with x = '{pick.x}'")
    ours = [_figure(name if len(pick.ours) > 1 else "", found[name]) for name in pick.ours]
    others = [_figure(name, found[name]) for name in pick.others if name in found]
    command = f"`python benchmarks/{SCRIPTS.get(pick.file, f'bench_{pick.file}.py')}`"
    return f"| {pick.what} | {'<br>'.join(ours)} | {'<br>'.join(others) or '–'} | {command} |"


def _figure(name: str, row: Row) -> str:
    """`name 33.9 ms (27.9–66.0)`, `49.2 [47.3, 51.1]`, or the bare number where there is no spread."""
    unit = "" if row["unit"] == "%" else " " + row["unit"].removesuffix(" per batch")
    spread = ""
    if row.get("low95"):
        spread = f" [{_number(row['low95'])}, {_number(row['high95'])}]"
    elif row.get("p20"):
        spread = f" ({_number(row['p20'])}–{_number(row['p80'])})"
    return f"{name.removeprefix('xmc ')} {_number(row['median'])}{unit}{spread}".strip()


def _number(text: str) -> str:
    number = float(text)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.1f}"


def _circumstances(name: str, rows: list[Row]) -> str:
    """Where and when a file was measured, as one item of a list."""

    def said(column: str) -> str:
        return ", ".join(dict.fromkeys(row[column] for row in rows if row[column]))

    return (
        f"- `{name}.csv`: {said('machine')}, {said('threads') or 'unrecorded'} threads, torch {said('torch')}, "
        f"faiss {said('faiss')}, {said('date')}."
    )


def main() -> None:
    """Fill both tables."""
    for path, content in ((README, first_look()), (PAGE, table())):
        path.write_text(filled(path.read_text(encoding="utf-8"), content), encoding="utf-8")


if __name__ == "__main__":
    main()
