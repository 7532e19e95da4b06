"""What a command cost: its own memory and not that of the benchmark, its processor time, and its failure."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from quality import measured

HOLDS_100_MB = "held = b'x' * 100_000_000"


def test_memory_is_that_of_the_command_alone():
    ballast = np.ones(600_000_000 // 8)
    small, large = (measured([sys.executable, "-c", code], "python").peak_mb for code in ("pass", HOLDS_100_MB))
    assert ballast.all()
    assert small < 60
    assert 90 < large - small < 110


def test_processor_time_is_not_waiting():
    cost = measured([sys.executable, "-c", "import time; time.sleep(0.5)"], "python")
    assert cost.wall_s >= 0.5 > cost.processor_s


def test_a_failure_says_what_failed_and_where_its_words_are(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(SystemExit, match="the peer failed with exit code 3; see"):
        measured([sys.executable, "-c", "print('reason'); raise SystemExit(3)"], "the peer", log=log)
    assert log.read_text(encoding="utf-8") == "reason\n"
