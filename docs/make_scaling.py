"""Fill the tables of docs/scaling.md from the code and from benchmarks/results: python docs/make_scaling.py.

`make docs` runs it too, and a test compares the page with what it would write.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xmc.plugin_manager import Offer, load_plugins
from xmc.tune.candidates import find_candidates
from xmc_index_exact.exact import Exact

PAGE = Path(__file__).parent / "scaling.md"
BUILDS = Path(__file__).parents[1] / "benchmarks" / "results" / "index_build.csv"
LABELS = (10_000_000, 100_000_000, 1_000_000_000)
DIMENSION = 256
GB = 1 << 30
MACHINE_GB = 256
USED_SHARE = 0.75  # of a machine's memory; the rest is for the label table, queries, the system


@dataclass(frozen=True)
class IndexSize:
    """Bytes of one kind of index for each number of labels asked for."""

    index: str
    labels: tuple[int, ...]
    total_bytes: tuple[int, ...]

    @property
    def bytes_per_label(self) -> float:
        """At the largest number, where what does not grow with the labels has vanished."""
        return self.total_bytes[-1] / self.labels[-1]


def sizes() -> list[IndexSize]:
    """What the backends of xmc propose at 10 M, 100 M and 1 B labels; exact search with and without a second copy."""
    offers = [offer for offer in load_plugins().offers["index"] if offer.plugin == "faiss"]
    exact = [_exact("float32"), _exact("int8"), _exact("bfloat16")]  # all, for the default depends on the machine
    return sorted([*exact, *index_sizes(offers, LABELS)], key=lambda size: -size.bytes_per_label)


def index_sizes(offers: Sequence[Offer], labels: Sequence[int]) -> list[IndexSize]:
    """The sizes of everything that the backends propose for all of these numbers of labels."""
    found: dict[str, list[int]] = {}
    for count in labels:
        for candidate in find_candidates(offers, labels=count, dimension=DIMENSION)[0]:
            found.setdefault(str(candidate), []).append(candidate.estimated_bytes)
    return [IndexSize(name, tuple(labels), tuple(sums)) for name, sums in found.items() if len(sums) == len(labels)]


def _exact(first_pass: Literal["float32", "int8", "bfloat16"]) -> IndexSize:
    backend = Exact(first_pass=first_pass)
    totals = [backend.estimated_bytes(labels=count, dimension=DIMENSION) for count in LABELS]
    return IndexSize(f"exact (first_pass {first_pass})", LABELS, tuple(totals))


def memory_table() -> str:
    """Bytes a label, memory and machines."""
    heads = ["index", "bytes a label", *(f"{count // 1_000_000:,} M labels" for count in LABELS)]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for size in sizes():
        cells = [_cell(total) for total in size.total_bytes]
        lines.append(f"| `{size.index}` | {size.bytes_per_label:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def label_shards(total_bytes: int, *, machine_bytes: int) -> int:
    """Machines, and so label shards, that hold an index with a quarter of their memory to spare."""
    return max(1, math.ceil(total_bytes / (USED_SHARE * machine_bytes)))


def _cell(total_bytes: int) -> str:
    shards = label_shards(total_bytes, machine_bytes=MACHINE_GB * GB)
    return f"{total_bytes / GB:,.0f} GB, {shards:,} machine{'s' if shards > 1 else ''}"


def build_table() -> str:
    """Measured builds: processor seconds a million labels, bytes on disk a label."""
    with BUILDS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figures: dict[str, dict[str, float]] = {}
    for row in rows:
        figures.setdefault(row["subject"], {})[row["unit"]] = float(row["median"])
    labels, config, machine, threads = (rows[0][name] for name in ("x", "config", "machine", "threads"))
    lines = ["| index | processor minutes a million labels | bytes a label on disk |", "|---|---:|---:|"]
    for subject, found in figures.items():
        minutes = found["processor s"] / int(labels) * 1e6 / 60
        lines.append(f"| `{subject}` | {minutes:,.1f} | {found['bytes a label on disk']:,.0f} |")
    said = f"Measured at {int(labels):,} labels ({config}, threads={threads}; {machine}) and scaled to a million."
    return "\n".join([said, "", *lines])


def page(text: str) -> str:
    """The page with its tables as they should be.

    Raises: ValueError when a mark is missing.
    """
    for name, table in (("memory", memory_table()), ("builds", build_table())):
        start, end = f"<!-- {name}: made by `make docs` -->", f"<!-- end of {name} -->"
        if text.count(start) != 1 or text.count(end) != 1:
            raise ValueError(f"the page must hold {start} and {end} once each")
        text = re.sub(f"{re.escape(start)}.*?{re.escape(end)}", f"{start}\n\n{table}\n\n{end}", text, flags=re.DOTALL)
    return text


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
