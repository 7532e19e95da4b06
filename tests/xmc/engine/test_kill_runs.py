"""Invariants: killed at any moment and started again, a run ends with the bits of an uninterrupted one; an index that
was being rebuilt answers as before; nothing is torn, lost or left over, and nobody has to repair anything."""

import json
from collections.abc import Callable

import forked
from kill_runs import kill_builds, kill_replacements, kill_trainings
from repetitions import only_in_full, repetitions


def run(program: Callable[..., None], *words: object) -> dict[str, object]:
    done = forked.run(program, *words, timeout=3600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


KILLS = repetitions(6, full=500)


def test_training_killed_at_random_moments(tmp_path):
    counts = run(kill_trainings, tmp_path, KILLS)
    runs = counts.pop("runs")
    assert runs >= 1
    assert counts == {
        "reference": "done",
        "kills": KILLS,
        "torn": 0,
        "lost": 0,
        "rest": 0,
        "different": 0,
        "errors": [],
    }


@only_in_full  # 200 of them; two would say little
def test_replacing_a_run_killed_at_random_moments(tmp_path):
    kills = 200
    assert run(kill_replacements, tmp_path / "run", kills) == {"kills": kills, "lost": 0, "rest": 0, "errors": []}


@only_in_full  # commits are killed at any point in test_kill_points
def test_index_building_killed_at_random_moments(tiny_run_copy):
    """Of two backends in one process, which imports all it needs but once."""
    counted = run(kill_builds, tiny_run_copy, KILLS, "exact", "faiss.flat")
    assert list(counted) == ["exact", "faiss.flat"]
    for counts in counted.values():
        assert counts.pop("versions") > 1  # kills fell between commits
        assert counts.pop("kills") >= KILLS
        assert counts == {"torn": 0, "different": 0, "errors": [], "rest": 0}
