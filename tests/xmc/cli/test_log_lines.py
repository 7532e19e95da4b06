"""Invariants: without a terminal there is a line a minute, with the time left, and none where JSON is wanted."""

import pytest

from xmc.cli import log_lines
from xmc.cli.bar import CountDisplay
from xmc.cli.predict_display import PredictDisplay
from xmc.cli.progress import TrainingDisplay
from xmc.predict.report import Progress


def predicting(display, second):
    display.show(Progress(4, 800, shards=second // 60, rows=10 * second, size=2 * second))


def training(display, second):
    display.step_finished(40 + second, 440, 2.5, 512)


def counting(display, second):
    display.count("calibrate", 40 + second, 440)


def counting_several(display, second):
    """Half a minute of one thing, then another, whose pace is its own."""
    if second < 30:
        display.count("calibrate", 400 + second, 430)
    else:
        display.count("conformal", second - 30, 440)


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize(
    ("make", "step", "second_line"),
    [
        (PredictDisplay, predicting, "2/4 shards  1,200 rows  10 rows/s  0:04:40 left"),
        (TrainingDisplay, training, "step 160/440  loss 2.5000  512 queries/s  0:04:40 left"),
        (TrainingDisplay, counting, "calibrate  160/440  0:04:40 left"),
        (CountDisplay, counting, "calibrate  160/440  0:04:40 left"),
        (CountDisplay, counting_several, "conformal  90/440  0:05:50 left"),
    ],
)
def test_a_line_a_minute(monkeypatch, capsys, make, step, second_line, quiet):
    now = [1000.0]
    monkeypatch.setattr(log_lines.time, "monotonic", lambda: now[0])
    with make(quiet=quiet) as display:
        for second in range(200):
            now[0] = 1000.0 + second
            step(display, second)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (0 if quiet else 3)
    assert quiet or said[1] == second_line
