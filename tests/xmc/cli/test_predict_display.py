"""Invariants: without a terminal there is a line a minute, no more, and none where JSON is wanted."""

import pytest

from xmc.cli import predict_display
from xmc.cli.predict_display import PredictDisplay
from xmc.predict.report import Progress


@pytest.mark.parametrize(("quiet", "lines"), [(False, 3), (True, 0)])
def test_a_line_a_minute(monkeypatch, capsys, quiet, lines):
    now = [1000.0]
    monkeypatch.setattr(predict_display.time, "monotonic", lambda: now[0])
    with PredictDisplay(quiet=quiet) as display:
        for second in range(200):
            now[0] = 1000.0 + second
            display.show(Progress(4, 800, shards=second // 60, rows=10 * second, size=2 * second))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert not lines or said[1] == "2/4 shards  1,200 rows  10 rows/s  0:04:40 left"
