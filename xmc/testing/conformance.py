"""How the kit says that a promise is not kept."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from typing import Any

import numpy as np

from xmc.config import build_options, write_toml
from xmc.errors import XmcError

SHOWN = 6  # numbers of an array


class ConformanceError(AssertionError):
    """A promise that a loss or an index does not keep; the message shows the numbers."""


def expect(condition: object, subject: object, promise: str, **numbers: Any) -> None:
    """Raise ConformanceError unless `condition` is true; of large tensors and arrays the first numbers are shown.

    Where two have one shape, the place is named at which they differ most; else the first that is not finite.

    >>> expect(3 > 4, "Hinge()", "three is more than four", three=3)
    Traceback (most recent call last):
    xmc.testing.conformance.ConformanceError: Hinge(): three is more than four; three=3
    """
    if not condition:
        arrays = {name: _array(value) for name, value in numbers.items() if hasattr(value, "tolist")}
        shown = [f"{name}={_shown(arrays.get(name, value))}" for name, value in numbers.items()]
        parts = [f"{subject}: {promise}", *([", ".join(shown)] if shown else []), *_places(arrays)]
        raise ConformanceError("; ".join(parts))


def plain_options(options: Any, *, section: str, what: str = "the options are") -> Any:
    """Expect a frozen dataclass that goes through the TOML of a run's configuration; what came back."""
    expect(dataclasses.is_dataclass(options), options, f"{what} a dataclass", type=type(options))
    expect(type(options).__dataclass_params__.frozen, options, f"{what} a frozen dataclass", type=type(options))
    settings = [field.name for field in dataclasses.fields(options) if field.init]
    try:
        values = dataclasses.asdict(options)
        text = write_toml({name: values[name] for name in settings})
        back = build_options(type(options), tomllib.loads(text), section=section)
    except (XmcError, TypeError) as error:
        raise ConformanceError(f"{options}: options go through TOML; error={error}") from error
    expect(back == options, options, "options go through TOML", back=back)
    return back


def keep_to(check: Callable[[Any], None], case: Any, *, subject: object) -> None:
    """Run a check of the kit; what the code under test raises becomes a ConformanceError that names the check."""
    try:
        check(case)
    except ConformanceError:
        raise
    except Exception as error:  # the code under test may raise anything
        what = check.__name__.strip("_").replace("_", " ")
        raise ConformanceError(f"{subject}: {what}: raised {type(error).__name__}: {error}") from error


def _array(value: Any) -> np.ndarray[Any, Any]:
    """Of a tensor, with a gradient and of bfloat16 too, or of an array."""
    return np.asarray(value.tolist())


def _shown(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return str(value)
    if value.size <= SHOWN:
        return str(value.tolist())
    first = ", ".join(str(number) for number in value.ravel()[:SHOWN].tolist())
    return f"[{first}, … {value.size} numbers of shape {value.shape}]"


def _places(arrays: dict[str, np.ndarray[Any, Any]]) -> list[str]:
    """Where to look in arrays that are not shown whole."""
    large = {name: value for name, value in arrays.items() if value.size > SHOWN and value.dtype.kind in "fiu"}
    if len(large) == 2:
        (one, other), (a, b) = large, large.values()
        if a.shape == b.shape and np.isfinite(a).all() and np.isfinite(b).all():
            place = np.unravel_index(np.abs(a - b).argmax(), a.shape)
            return [f"most at {[int(each) for each in place]}: {one} {a[place]}, {other} {b[place]}"]
    places = []
    for name, value in large.items():
        wrong = np.argwhere(~np.isfinite(value))
        if len(wrong):
            places.append(f"{name} is {value[tuple(wrong[0])]} at {wrong[0].tolist()}")
    return places
