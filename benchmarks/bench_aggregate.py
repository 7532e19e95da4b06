"""Labels of bags instead of queries: precision against bag size, loss and privacy, beside the row-label model.

    python benchmarks/bench_aggregate.py [--set SECTION.KEY=VALUE ...] [--only WORD] [--work FOLDER]

The first letters of ICD-10-CM codes (26 labels, 10,725 training queries of the shipped data set), the recipe of the
plugin `aggregate`. Row labels are the same recipe on bags of one query without noise. "No noise" is a release whose
epsilon (1,000) leaves every count as it is; the others are as private as they say. Each is one draw of bags and noise:
the interval is that of the test queries alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from quality import percent, quality_rows, run_subject
from record import beside_earlier, record

from xmc.data.dataset import load_dataset
from xmc.privacy.privatise import privatise

RESULTS = Path(__file__).parent / "results" / "aggregate.csv"
QUESTION = "P@1 from labels of bags on the first letters of icd10cm"
BASELINE = "row labels"
NO_NOISE = "1000"
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
    for bag_size in (2, 4, 8, 16):
        for rho in (0.0, 0.5, 1.0):
            yield Setting(NO_NOISE, bag_size, rho)
    for epsilon in ("0.5", "1", "2", "4", "8"):
        for bag_size in (1, 2, 4, 8):
            yield Setting(epsilon, bag_size, 1.0)


def most_frequent(data: Path) -> Row:
    """The share of test queries that the most frequent training label answers: what no model should be below."""
    counts = load_dataset(data).train_counts()
    test = load_dataset(data).test
    assert test is not None
    right = float(np.mean(test.positives.label_rows == counts.argmax()))
    return {"question": QUESTION, "subject": "most frequent label", "x": "P@1", "median": percent(right), "unit": "%"}


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        for setting in settings():
            if options.only not in setting.name:
                continue
            data = work / f"epsilon-{setting.epsilon}-bags-{setting.bag_size}"
            if not data.is_dir():
                privatise(
                    "icd10cm", data, epsilon=setting.epsilon, bag_size=setting.bag_size, group_prefix=1, public=["test"]
                )
            if setting == ROWS:
                rows.append(most_frequent(data))
            loss = (f"loss.rho={setting.rho}", *options.set)
            subject = run_subject(setting.name, data=str(data), plugin="aggregate", settings=loss, work=work)
            rows += quality_rows(subject, QUESTION, ("P@1",), baseline="" if setting == ROWS else BASELINE)
            print(setting.name, rows[-1]["median"], flush=True)
    record(options.results, beside_earlier(options.results, rows))


if __name__ == "__main__":
    main()
