"""Invariants: what `xmc predict` says of its rows holds for few of them and many."""

import pytest

from xmc.cli.predict import print_prediction
from xmc.predict.report import PredictReport


@pytest.mark.parametrize(
    ("rows", "seconds", "said"),
    [(3, 12.0, "3 rows of 2 shards at 0.25 rows/s\n"), (0, 4.0, "0 rows of 2 shards\n"), (9000, 2.0, " 4,500 rows/s")],
)
def test_few_rows_have_a_rate_that_is_not_0(rows, seconds, said, capsys):
    print_prediction(PredictReport("out", 5, 2, 0, rows, {"ok": rows}, rows, seconds))
    assert said in capsys.readouterr().out
