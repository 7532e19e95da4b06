"""What does a filter on metadata cost a search: values that are looked up, beside a function asked of every passage?

Run: python benchmarks/bench_passage_filter.py RUN [--repeats 9]; a run on icd10cm, such as that of `make quickstart`.
Each of its 46,881 codes gets the metadata `chapter` (its first letter), `length` and `number`, another for each; a
filter keeps the chapter K, which has 1,109. `first` is the first search with a filter on a key in a process, which
reads all metadata once; `100 orders` is a filter of 100 comparisons of `number`, each time one that is not remembered.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from record import alternate, record, spread

from xmc.integrations.passages import Passage
from xmc.integrations.run_passages import RunPassages
from xmc.retrieve.metadata_filters import Equals
from xmc.retrieve.written_filters import read_filter

RESULTS = Path(__file__).parent / "results" / "passage_filter.csv"
QUERY, WANTED = "inflammation of the stomach", {"chapter": "K"}


def asked_of_each(passage: Passage) -> bool:
    """The same filter as a function."""
    return bool(passage.metadata["chapter"] == "K")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(options.run, Path(folder) / "run"))
        passages = RunPassages(run)
        labels = passages.current().labels
        kept = {code: {"chapter": code[0], "length": len(code), "number": row} for row, code in enumerate(labels.ids)}
        passages.add(dict(zip(labels.ids, labels.texts, strict=True)), kept)
        search = partial(passages.search, QUERY, k=10)
        lowest = itertools.count()

        def search_by_orders() -> None:
            start = next(lowest)
            search(keep=read_filter({"$and": [{"number": {"$gte": start + each}} for each in range(100)]}))

        search()  # the records are read
        started = time.perf_counter()
        first = search(keep=Equals(WANTED))
        seconds = {"values, first": [time.perf_counter() - started]}
        assert [each.id for each in first] == [each.id for each in search(keep=asked_of_each)]
        seconds |= alternate(
            {
                "no filter": search,
                "values looked up": partial(search, keep=Equals(WANTED)),
                "100 orders": search_by_orders,
                "a function asked of each": partial(search, keep=asked_of_each),
            },
            repeats=options.repeats,
        )
    rows = []
    for subject, values in seconds.items():
        median, p20, p80 = (1e3 * value for value in (spread(values) if len(values) > 1 else 3 * values))
        ratio = 1e3 * spread(seconds["a function asked of each"])[0] / median
        print(f"{subject:26s} {median:8.2f} ms, {ratio:.1f}x", flush=True)
        names = {"question": "search with a filter on metadata", "subject": subject, "x": len(labels)}
        figures = {"median": f"{median:.3f}", "p20": f"{p20:.3f}", "p80": f"{p80:.3f}", "ratio": f"{ratio:.2f}"}
        rows.append({**names, "baseline": "a function asked of each", **figures, "unit": "ms"})
    config = f"icd10cm, k=10, chapter K, repeats={options.repeats}"
    record(RESULTS, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
