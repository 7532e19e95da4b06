"""Sizes and times as people write them."""

from __future__ import annotations

import re

from xmc.errors import ConfigError

BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


def parse_bytes(text: str) -> int:
    """Bytes of a size; 1 MB is 1,024 kB, as xmc prints sizes, and KiB, MiB, … are the same.

    >>> parse_bytes("500MB"), parse_bytes("1.5 GiB"), parse_bytes("4096")
    (524288000, 1610612736, 4096)
    """
    number, unit = _split(text, "size", BYTES)
    return int(number * _unit(BYTES, re.sub("(?i)(?<=[kmgt])i(?=b$)", "", unit) or "B", text, "size"))


def parse_seconds(text: str) -> float:
    """Seconds of a time; without a unit it is refused, since seconds and milliseconds are both likely.

    >>> parse_seconds("2ms"), parse_seconds("0.5 s")
    (0.002, 0.5)
    """
    number, unit = _split(text, "time", SECONDS)
    return number * _unit(SECONDS, unit, text, "time")


def _split(text: str, what: str, units: dict[str, float] | dict[str, int]) -> tuple[float, str]:
    found = NUMBER.fullmatch(text.strip())
    if not found:
        raise ConfigError(f"{text!r} is not a {what}.", hint=f"Write a number and one of {', '.join(units)}.")
    return float(found[1]), found[2]


def _unit(units: dict[str, float] | dict[str, int], unit: str, text: str, what: str) -> float:
    for name, factor in units.items():
        if name.lower() == unit.lower():
            return factor
    said = f"has the unknown unit {unit!r}" if unit else "has no unit"
    raise ConfigError(f"the {what} {text!r} {said}.", hint=f"Units: {', '.join(units)}.")
