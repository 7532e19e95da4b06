"""Invariants: killed at any call that can touch the disk, an edit of labels leaves the old edits or the new ones; the
next edit needs no help and nothing is left over."""

import json
import subprocess
import sys

from kill_edits import __file__ as program
from repetitions import repetitions

STEP = 60 // repetitions(4, full=12)  # of the calls that touch the disk, every so many-th


def test_a_killed_edit_leaves_the_old_or_the_new(tiny_run_copy, tmp_path):
    command = [sys.executable, program, str(tiny_run_copy), str(tmp_path), str(STEP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["points"] >= 100
    assert counts["old"] > 0 and counts["new"] > 0
    assert [counts.get(key, 0) for key in ("half", "torn", "failed restarts", "rest")] == [0, 0, 0, 0]
