"""Invariants: killed at any moment and started again, a run ends with the bits of an uninterrupted one; an index that
was being rebuilt answers as before; nothing is torn, lost or left over, and nobody has to repair anything."""

import json
import subprocess
import sys

import pytest
from kill_runs import __file__ as program


def run(*arguments: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_training_killed_at_random_moments(tmp_path, kills):
    counts = run("train", str(tmp_path), str(kills))
    runs = counts.pop("runs")
    assert runs >= 1
    assert counts == {
        "reference": "done",
        "kills": kills,
        "torn": 0,
        "lost": 0,
        "rest": 0,
        "different": 0,
        "errors": [],
    }


@pytest.mark.parametrize(
    ("backend", "kills"),
    [
        ("exact", 8),
        pytest.param("exact", 50, marks=pytest.mark.slow),
        pytest.param("faiss.flat", 50, marks=pytest.mark.slow),
    ],
)
def test_index_building_killed_at_random_moments(tmp_path, backend, kills):
    counts = run("index", str(tmp_path), str(kills), backend)
    assert counts.pop("versions") > 1  # kills fell between commits
    assert counts == {"kills": kills, "torn": 0, "different": 0, "errors": [], "rest": 0}
