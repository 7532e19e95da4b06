"""Invariants: each shipped loss trains as it did when its curve was written, step by step; each has a curve.

A change that is meant to change them: `make golden`, with the difference in the commit.
"""

import pytest
from golden_curves import FOLDER, golden_file, loss_curve, read_curve, shipped_losses

NAMES = sorted(shipped_losses())


def test_there_is_a_curve_for_each_shipped_loss_and_no_other():
    assert {path.name for path in FOLDER.glob("*.csv")} == {golden_file(name).name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_50_losses_are_those_of_the_golden_curve(name, tmp_path):
    curve, golden = loss_curve(name, tmp_path / "run"), read_curve(golden_file(name))
    assert len(golden) == len(curve)
    for step, (loss, expected) in enumerate(zip(curve, golden, strict=True), start=1):
        assert loss == pytest.approx(expected, rel=1e-4, abs=1e-7), f"step {step}"


def test_training_lowers_each_loss():
    for name in NAMES:
        golden = read_curve(golden_file(name))
        first, last = sum(golden[:10]), sum(golden[-10:])
        assert last < first - 0.03 * abs(first), name
