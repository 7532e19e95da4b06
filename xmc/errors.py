"""Every error and warning of xmc; each says what was wrong, what was got, what is allowed and what to do."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class XmcError(Exception):
    """Base of all errors that xmc raises on purpose; the command line prints it as one sentence and exits with 2."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(XmcError):
    """A configuration key or value that is not allowed."""


class PluginError(XmcError):
    """A plugin that could not be loaded, or a name that no plugin declares."""


class DataError(XmcError):
    """A table, file or row that does not follow its schema."""


class UnknownLabelsError(DataError):
    """Label ids that a run does not have."""


class NonFiniteError(DataError):
    """A NaN, infinite or absurdly large number where a finite one is needed; names the rows or the step."""


class DeviceError(XmcError):
    """A device that was asked for and is not there, or that cannot run what was asked of it."""


class PeerError(XmcError):
    """Another process of a run that several train together ended, hangs, or has come to another result."""


class ServiceError(XmcError):
    """A service that cannot be reached or does not answer as asked; `status` is that of HTTP, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


class ArtifactError(XmcError):
    """A stored folder that is missing, half, damaged or of another kind; raised before anything in it is parsed."""


class LockedError(ArtifactError):
    """A folder that another process is writing."""


class InterruptedRunError(XmcError):
    """A run stopped by a signal after its checkpoint was committed; carries the exit code 128 + signal number."""

    def __init__(self, message: str, *, signal_number: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


class XmcWarning(UserWarning):
    """Something that is allowed but that the user would want to know."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The sentence `Did you mean 'x'?` when one of `allowed` is close to `name`, else the empty string.

    >>> did_you_mean("temprature", ["temperature", "k"])
    "Did you mean 'temperature'?"
    >>> did_you_mean("foo", ["bar"])
    ''
    >>> did_you_mean("DEXML", ["dexml"])
    "Did you mean 'dexml'?"
    """
    there = {each.lower(): each for each in allowed}
    close = difflib.get_close_matches(name.lower(), there, n=1)
    return f"Did you mean '{there[close[0]]}'?" if close else ""


def quoted(path: object) -> str:
    """A path as a command line takes it, with blanks in it for example.

    >>> quoted("my data"), quoted("runs/a")
    ("'my data'", 'runs/a')
    """
    return shlex.quote(str(path))


def grouped(value: object) -> str:
    """A value as messages show it: a number in groups of three digits.

    >>> grouped(12345), grouped(0.5), grouped("12345")
    ('12,345', '0.5', '12345')
    """
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def first_few(items: Sequence[Any], show: Callable[[Any], str] = "'{}'".format, *, most: int = 5) -> str:
    """The first items, as a message names them, and how many more there are.

    >>> first_few(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(show(item) for item in items[:most]) + more
