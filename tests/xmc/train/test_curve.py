"""Invariants: the table has the curve's numbers in full; the picture is a PNG, with and without validation."""

import csv
import struct

import pytest

from xmc.train.curve import COLUMNS, write_curve_picture, write_curve_table

CURVE = [
    {"epoch": 1, "step": 7, "loss": 1 / 3, "validation_p1": 0.5, "learning_rate": 1e-3, "seconds": 1.25},
    {"epoch": 2, "step": 14, "loss": 0.1, "validation_p1": 0.75, "learning_rate": 0.0, "seconds": 2.5},
]


@pytest.mark.parametrize("curve", [CURVE, []])
def test_the_table_reads_back_as_it_was(tmp_path, curve):
    write_curve_table(tmp_path / "curve.csv", curve)
    with (tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{key: float(value) for key, value in row.items()} for row in rows] == curve
    assert (tmp_path / "curve.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


@pytest.mark.parametrize("curve", [CURVE, CURVE[:1], [{**row, "validation_p1": -1.0} for row in CURVE], []])
def test_the_picture_is_a_png(tmp_path, curve):
    write_curve_picture(tmp_path / "curve.png", curve)
    data = (tmp_path / "curve.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width > 300 and height > 200
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_the_same_curve_gives_the_same_picture(tmp_path):
    for name in ("a.png", "b.png"):
        write_curve_picture(tmp_path / name, CURVE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
