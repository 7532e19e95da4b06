"""Invariants: sizes are in steps of 1,024, times need a unit, and nothing else is taken for either."""

import pytest

from xmc.cli.output import human_bytes
from xmc.cli.units import parse_bytes, parse_seconds
from xmc.errors import ConfigError


def test_sizes():
    assert parse_bytes("500MB") == 500 * 1024**2 == parse_bytes("500 mib") and parse_bytes("0.5GB") == 2**29
    assert parse_bytes(human_bytes(3 * 2**20)) == 3 * 2**20 and parse_bytes("12") == parse_bytes("12 B") == 12


def test_times():
    assert (
        parse_seconds("2ms") == 0.002 and parse_seconds("1.5 s") == 1.5 and parse_seconds("50us") == pytest.approx(5e-5)
    )


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "5 XB", "1e3MB", "5 i", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["2", "", "2 MB", "-2ms"])
def test_what_is_no_time(text):
    with pytest.raises(ConfigError):
        parse_seconds(text)
