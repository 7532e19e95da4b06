"""The options of a search: the ladder that a tuner climbs, and an index searched with other ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from xmc.api import ConfigError, IndexReport

Options = TypeVar("Options")


def doubling_ladder(name: str, first: int, last: int) -> list[Mapping[str, Any]]:
    """Values of one option, doubled from `first`; `last` is the last rung.

    >>> doubling_ladder("nprobe", 1, 5)
    [{'nprobe': 1}, {'nprobe': 2}, {'nprobe': 4}, {'nprobe': 5}]
    """
    values = []
    while first < last:
        values.append(first)
        first *= 2
    return [{name: value} for value in [*values, last]]


def with_options(
    options: Options, report: IndexReport, changes: Mapping[str, Any], *, allowed: tuple[str, ...]
) -> tuple[Options, IndexReport]:
    """The backend's options and the report with some options of the search changed.

    Raises: ConfigError for an option that is not one of the search, or a value that is not allowed.
    """
    for name, value in changes.items():
        if name not in allowed:
            raise ConfigError(
                f"{report.backend} has no search option {name!r} (it has: {', '.join(allowed)}).",
                hint="Other options are those of a build: make another index.",
            )
        wanted = type(getattr(options, name))
        if type(value) is not wanted:
            raise ConfigError(f"{report.backend}: {name} must be of type {wanted.__name__}, got {value!r}.")
    try:
        changed = replace(options, **changes)  # type: ignore[type-var]
    except ValueError as error:
        raise ConfigError(f"{report.backend}: {error}.") from error
    return changed, replace(report, options=asdict(changed))  # type: ignore[call-overload]
