"""Labels of bags instead of queries: precision against bag size, loss and privacy, beside the row-label model.

    python benchmarks/bench_aggregate.py [--only WORD] [--set SECTION.KEY=VALUE ...]

The first letters of ICD-10-CM codes (26 labels, 10,725 training queries of the shipped data set) and the recipe of the
plugin `aggregate` with a small static encoder: words alone, width 64, learning rate 0.02 (better than 0.004 on a tenth
of the training queries). Row labels are the same recipe on bags of one query without noise. "No noise" is a release
whose epsilon (1,000) leaves every count as it is; the others are as private as they say. Each is one draw of bags and
noise: the interval is that of the test queries alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from quality import percent
from record import beside_earlier, record

from xmc.data.dataset import load_dataset
from xmc.engine.verbs import evaluate_run, train_run
from xmc.privacy.privatise import privatise

RESULTS = Path(__file__).parent / "results" / "aggregate.csv"
QUESTION = "P@1 from labels of bags on the first letters of icd10cm"
BASELINE = "row labels"
NO_NOISE = "1000"
SMALL = (
    "encoder.dimension=64",
    "encoder.ngrams_shortest=0",
    "encoder.ngrams_longest=0",
    "train.learning_rate=0.02",
)
Row = dict[str, object]


class Setting(NamedTuple):
    """One release and one loss over it."""

    epsilon: str
    bag_size: int
    rho: float

    @property
    def name(self) -> str:
        """The setting in words."""
        noise = "no noise" if self.epsilon == NO_NOISE else f"epsilon {self.epsilon}"
        return BASELINE if self == ROWS else f"{noise}, bags of {self.bag_size}, rho {self.rho:g}"


ROWS = Setting(NO_NOISE, 1, 1.0)


def settings() -> Iterator[Setting]:
    """Row labels; bag size and rho without noise; epsilon and bag size with it."""
    yield ROWS
    for bag_size in (4, 16):
        for rho in (0.0, 0.5, 1.0):
            yield Setting(NO_NOISE, bag_size, rho)
    for epsilon in ("1", "2", "4", "8"):
        for bag_size in (1, 4):
            yield Setting(epsilon, bag_size, 1.0)
    yield Setting("4", 4, 0.0)


def most_frequent(data: Path) -> Row:
    """The share of test queries that the most frequent training label answers: what no model should be below."""
    source = load_dataset(data)
    assert source.test is not None
    right = float(np.mean(source.test.positives.label_rows == source.train_counts().argmax()))
    return {"question": QUESTION, "subject": "most frequent label", "x": "P@1", "median": percent(right), "unit": "%"}


def measured(setting: Setting, data: Path, run: Path, chosen: Sequence[str]) -> Row:
    """P@1 on the test queries, whose row labels the release has as they are."""
    used = (*SMALL, f"loss.rho={setting.rho}", *chosen)
    train_run(data, run, plugin="aggregate", settings=used)
    figure = evaluate_run(run, split="test", settings=("evaluate.ks=[1]",)).overall.figures["P@1"]
    values = {"median": figure.value, "low95": figure.low, "high95": figure.high}
    return {
        "question": QUESTION, "subject": setting.name, "baseline": "" if setting == ROWS else BASELINE, "x": "P@1",
        "unit": "%", "config": " ".join(("plugin=aggregate", *used)), **{k: percent(v) for k, v in values.items()},
    }  # fmt: skip


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for number, setting in enumerate(each for each in settings() if options.only in each.name):
            rows: list[Row] = []
            data = Path(temporary) / f"epsilon-{setting.epsilon}-bags-{setting.bag_size}"
            if not data.is_dir():
                release = {"epsilon": setting.epsilon, "bag_size": setting.bag_size, "group_prefix": 1}
                privatise("icd10cm", data, public=["test"], **release)  # type: ignore[arg-type]
            if setting == ROWS:
                rows.append(most_frequent(data))
            rows.append(measured(setting, data, Path(temporary) / f"run-{number}", options.set))
            print(setting.name, *(row["median"] for row in rows), flush=True)
            record(options.results, beside_earlier(options.results, rows))


if __name__ == "__main__":
    main()
