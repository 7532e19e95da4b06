"""Files and folders as callers give them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmc.errors import ConfigError


def given_place(value: Any, *, name: str) -> str:
    """A path or URL as a text; `name` is the argument's.

    Raises: ConfigError for anything but a string or what is a path (`os.PathLike`).

    >>> given_place(Path("runs/a"), name="run")
    'runs/a'
    >>> given_place(None, name="run")
    Traceback (most recent call last):
    xmc.errors.ConfigError: run must be a path, a string or pathlib.Path, got NoneType.
    """
    if isinstance(value, str | os.PathLike):
        place = os.fspath(value)
        if isinstance(place, str):
            return place
    raise ConfigError(f"{name} must be a path, a string or pathlib.Path, got {type(value).__name__}.")


def given_path(value: Any, *, name: str) -> Path:
    """The same as a path of this machine. Raises: as `given_place`."""
    return Path(given_place(value, name=name))


def given_runs(values: Any) -> dict[str, Path]:
    """Run folders by name. Raises: ConfigError for anything but a mapping, and as `given_place`."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"runs must be a mapping of names to run folders, got {type(values).__name__}.",
            hint='Write {"a": "runs/a"}.',
        )
    return {name: given_path(run, name="run") for name, run in values.items()}
