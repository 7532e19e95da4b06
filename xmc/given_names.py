"""Names as callers give them, one or several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xmc.errors import ConfigError


def given_name(value: Any, *, name: str) -> str:
    """A string as it is; `name` is the argument's.

    Raises: ConfigError for anything else.

    >>> given_name("onnx", name="format")
    'onnx'
    >>> given_name(None, name="format")
    Traceback (most recent call last):
    xmc.errors.ConfigError: format must be a string, got NoneType.
    """
    if isinstance(value, str):
        return value
    raise ConfigError(f"{name} must be a string, got {type(value).__name__}.")


def given_names(values: Any, *, name: str) -> list[str]:
    """One string, or any number of them, as a list. Raises: ConfigError for anything else, naming it."""
    if isinstance(values, str):
        return [values]
    if isinstance(values, bytes) or not isinstance(values, Iterable):
        raise ConfigError(f"{name} must be a string or a list of strings, got {type(values).__name__}.")
    return [given_name(value, name=f"each of the {name}") for value in values]
