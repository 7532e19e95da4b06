"""A run that is stopped leaves the rows it has measured, beside the earlier ones; a whole run leaves only its own.

All rows of a run name the commit that was checked out when it first recorded.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench_index_curve
import record

SUBJECTS = ("exact", "cell", "graph")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a table of earlier rows, and a benchmark whose subjects take no time."""
    record._commit.cache_clear()
    monkeypatch.delenv("XMC_BENCHMARK_COMMIT", raising=False)
    monkeypatch.setattr(record, "__file__", str(tmp_path / "record.py"))
    monkeypatch.setattr(bench_index_curve, "RESULTS", tmp_path / "index_curve.csv")
    monkeypatch.setattr(bench_index_curve, "vectors", lambda options: bench_index_curve.clustered(50, 5, 8))
    monkeypatch.setattr(bench_index_curve, "measured", lambda group, *given, **more: [row(*group, "new")])
    for name in SUBJECTS:
        monkeypatch.setattr(bench_index_curve, f"{name}_subjects", subjects_of(name))
    record.record(tmp_path / "index_curve.csv", [row(name, "old") for name in ("exact 1", "cell 1", "cell 2", "gone")])
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    record._commit.cache_clear()
    yield tmp_path
    record._commit.cache_clear()


def row(subject, config):
    return {"question": "how fast", "subject": subject, "x": "1.0", "config": config}


def subjects_of(name):
    def subjects(labels_LD, exact, options):
        for number in (1, 2):
            if options.repeats == 0 and name == "cell" and number == 2:
                raise KeyboardInterrupt
            yield [f"{name} {number}"]

    return subjects


def run(folder, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench_index_curve.py", "--threads", "1", *arguments])
    bench_index_curve.main()


def table(folder):
    with (folder / "index_curve.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_stopped_run_leaves_what_it_measured(checkout, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(checkout, monkeypatch, "--repeats", "0")
    found = {one["subject"]: one for one in table(checkout)}
    new = {name for name, one in found.items() if "repeats" in one["config"]}
    assert new == {"exact 1", "exact 2", "cell 1"}
    assert set(found) - new == {"cell 2", "gone"}
    commits = {found[name]["commit"] for name in new}
    assert len(commits) == 1 and not commits.pop().endswith("-dirty")


def test_a_whole_run_leaves_only_its_rows_and_a_part_keeps_the_others(checkout, monkeypatch):
    run(checkout, monkeypatch, "--indexes", "hnsw", "--repeats", "1")
    assert [one["subject"] for one in table(checkout)] == ["exact 1", "cell 1", "cell 2", "gone", "graph 1", "graph 2"]
    run(checkout, monkeypatch, "--repeats", "1")
    names = [one["subject"] for one in table(checkout)]
    assert names == ["exact 1", "exact 2", "cell 1", "cell 2", "graph 1", "graph 2"]
