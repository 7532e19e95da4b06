"""Invariants: killed at any point, a writer leaves the old version or the new one; the next writer needs no help.

A point is just before or after a call of the writer that can touch the disk (open, write, fsync, rename, rmdir, ...).
"""

import json
import subprocess
import sys

import pytest
from kill_points import __file__ as program
from repetitions import repetitions


def run(*arguments: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("writer", "least", "step"),
    [
        ("Versions", 200, 1),
        ("FirstVersion", 200, 6 // repetitions(1, full=6)),
        ("OneFolder", 60, 1),
        ("OneFile", 20, 1),
    ],
)
def test_a_kill_at_any_point_leaves_the_old_or_the_new(tmp_path, writer, least, step):
    counts = run(writer, str(tmp_path), str(step))
    assert counts["points"] >= least
    assert counts["old"] + counts["new"] == counts["kills"]
    assert counts["old"] > 0
    assert counts["new"] > 0
    assert counts["failed_restarts"] == 0
    assert counts["rest"] == 0


@pytest.mark.parametrize("writer", ["VersionsInPlace", "OneFolderByTwoNames", "OneFileInPlace"])
def test_without_the_protection_kills_leave_torn_states(tmp_path, writer):
    assert run(writer, str(tmp_path))["torn"] > 0


def test_writers_killed_one_after_the_other(tmp_path):
    chains = repetitions(10, full=100)
    counts = run("repeatedly", str(tmp_path), str(chains))
    assert counts["kills"] >= 5 * chains
    assert counts["wrong"] == 0
    assert counts["rest"] == 0
