"""Invariants: killed at any call that can touch the disk, an edit of labels leaves the old edits or the new ones; the
next edit needs no help and nothing is left over."""

import json

import forked
import kill_edits
import pytest
from repetitions import repetitions

STEP = 60 // repetitions(4, full=12)  # of the calls that touch the disk, every so many-th


@pytest.mark.parametrize("verb", ["remove", "rollback"])
def test_a_killed_edit_leaves_the_old_or_the_new(tiny_run_copy, tmp_path, verb):
    done = forked.run(kill_edits.main, tiny_run_copy, tmp_path, STEP, verb)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["points"] >= 100
    assert counts["old"] > 0 and counts["new"] > 0
    assert [counts.get(key, 0) for key in ("half", "torn", "failed restarts", "rest")] == [0, 0, 0, 0]
