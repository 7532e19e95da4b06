"""The typed configuration tree: TOML in, TOML out, `--set section.key=value`, and no unknown key is ever ignored.

Order, later wins: defaults of the dataclasses < recipe < configuration file < `--set` < named flags.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from xmc.errors import ConfigError, PluginError, did_you_mean
from xmc.given_numbers import is_truth
from xmc.utf8 import is_utf8

Options = TypeVar("Options")
LARGEST = 3.4028234e38  # of float32, in which models are trained
Settings = Iterable[str] | Mapping[str, Any]  # `section.key=value` strings, or values by `section.key`


def build_options(
    cls: type[Options], values: Mapping[str, Any], *, section: str, source: str = "configuration"
) -> Options:
    """Make the dataclass `cls` from plain values, checking names, types and sizes.

    Numbers must be finite and fit into 64 bits or float32; a field whose default is not finite takes such numbers too.
    Raises: ConfigError naming section, key, value and what is allowed; PluginError for a class that is no dataclass.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Example:
    ...     k: int = 5
    >>> build_options(Example, {"k": 7}, section="loss")
    Example(k=7)
    >>> build_options(Example, {"kk": 7}, section="loss")
    Traceback (most recent call last):
    xmc.errors.ConfigError: configuration: [loss] has no key 'kk' (it has: k). Did you mean 'k'?
    """
    if not dataclasses.is_dataclass(cls):
        raise PluginError(
            f"[{section}] {getattr(cls, '__name__', cls)!r} is no dataclass, so it has no options to set.",
            hint="In the plugin, put @dataclass(frozen=True) on it; its fields are the options.",
        )
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in values:
        if key not in fields:
            raise ConfigError(
                f"{source}: [{section}] has no key '{key}' (it has: {', '.join(fields) or 'none'}).",
                hint=did_you_mean(key, fields),
            )
    where = f"{source}: [{section}]"
    built = _validated(cls, values, section=section, where=where)
    for key, value in values.items():
        _require_usual(value, getattr(built, key), default=fields[key].default, where=f"{where} {key}")
    return built


def _validated(cls: type[Options], values: Mapping[str, Any], *, section: str, where: str) -> Options:
    """What pydantic makes of the values; its errors in words of the configuration."""
    import pydantic

    try:
        return pydantic.TypeAdapter(cls).validate_python(dict(values))
    except (pydantic.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as error:
        raise PluginError(
            f"[{section}] the types of the options of {cls.__name__!r} cannot be read: {str(error).splitlines()[0]}",
            hint="In the plugin, give its fields types that TOML has (bool, int, float, str, lists of these), and "
            "import their names when the module runs, not under TYPE_CHECKING.",
        ) from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key, message = _place_and_message(error.errors())
        got = "" if first["type"] == "missing" else f", got {first['input']!r}" if key else ""
        hint = _how_written(key, first["type"], first["input"])
        raise ConfigError(f"{where} {key}: {message}{got}.".replace(" :", ":"), hint=hint) from error


def _how_written(key: str, error_type: str, value: Any) -> str:
    """How TOML has what is wanted, where another kind of value was given."""
    if error_type == "string_type" and not isinstance(value, (list, dict)):
        return f'A text stands in quotes: {key} = "{value}"'
    if error_type == "tuple_type" and isinstance(value, (int, float)):
        return f"A list stands in brackets, also of one: {key} = [{value}]"
    return f"Example: {key} = {{name = 1}}" if error_type == "dict_type" else ""


def _place_and_message(errors: Sequence[Any]) -> tuple[str, str]:
    """Where the first of pydantic's errors is and what it says; of a number or a name, that it may be either."""
    place, message = errors[0]["loc"], errors[0]["msg"].removeprefix("Value error, ")
    message = message.replace("a valid tuple", "a list").replace("a valid dictionary", "a table")  # as TOML calls them
    names = [each for each in errors[1:] if each["type"] == "literal_error" and each["loc"][:-1] == place[:-1]]
    if len(place) > 1 and names:  # one error for each of what it may be, with its type at the end of the place
        place, message = place[:-1], f"{names[0]['msg']} or {message.removeprefix('Input should be ')}"
    return ".".join(map(str, place)), message


def _require_usual(value: Any, taken: Any, *, default: Any, where: str) -> None:
    """Refuse what pydantic lets through: true for 1, numbers that nothing can compute with, names that are not UTF-8.

    `taken` is what pydantic made of the value.
    """
    if _is_no_number(value, taken):
        raise ConfigError(f"{where}: Input should be a number, got {value!r}.")
    unusual = next(_unusual_numbers(taken), None)
    if unusual and not any(_unusual_numbers(default)):
        raise ConfigError(f"{where}: Input should be {unusual}.")
    if isinstance(value, str) and not is_utf8(value):
        raise ConfigError(
            f"{where}: Input should be UTF-8, got {value!r}.",
            hint="Rename the file or folder: a configuration is written as UTF-8, and cannot hold this name.",
        )


def _is_no_number(value: Any, taken: Any) -> bool:
    """Whether true or false was taken for 1 or 0, alone or in a list: pydantic allows it."""
    if isinstance(value, (list, tuple)) and isinstance(taken, (list, tuple)):
        return any(map(_is_no_number, value, taken))
    return is_truth(value) and not isinstance(taken, bool)


def _unusual_numbers(value: Any) -> Iterator[str]:
    """What is wanted and what was got of each number, at any depth, that is not finite or too large for torch."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _unusual_numbers(each)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"a finite number, got {value}"
    elif isinstance(value, float) and abs(value) > LARGEST:
        yield f"a number of at most {LARGEST:g}, which is what float32 holds, got {value:g}"
    elif isinstance(value, int) and value.bit_length() > 63:  # more than TOML promises, and torch and numpy take
        yield f"a whole number of at most 64 bits, got one of {value.bit_length() + 1}"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into nested dictionaries.

    Raises: ConfigError when the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ConfigError(f"there is no configuration file {path}.") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def write_toml(values: Mapping[str, Any]) -> str:
    """The TOML text of nested dictionaries; None values are left out (TOML has no null)."""
    import tomli_w

    return tomli_w.dumps(_without_none(values))


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries merged, `over` winning; a section that names another component drops the old one's options.

    >>> merge({"loss": {"name": "a", "k": 1}}, {"loss": {"name": "b"}})
    {'loss': {'name': 'b'}}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and "name" in old and value["name"] != old["name"]
            merged[key] = dict(value) if renamed else merge(old, value)
        else:
            merged[key] = value
    return merged


def parse_assignments(assignments: Settings) -> dict[str, Any]:
    """Nested dictionaries from `section.key=value` strings; values are read as TOML, bare words as strings.

    In place of strings there may be a mapping of `section.key`, or of sections, to values.
    Raises: ConfigError when an assignment has no `=` or no section, for one string in place of several, and for what
    is no such thing.

    >>> parse_assignments(["train.epochs=3", "encoder.name=static", "encoder.shared=false"])
    {'train': {'epochs': 3}, 'encoder': {'name': 'static', 'shared': False}}
    >>> parse_assignments({"train.epochs": 3, "encoder": {"name": "static"}})
    {'train': {'epochs': 3}, 'encoder': {'name': 'static'}}
    """
    if isinstance(assignments, str):
        raise ConfigError(f"the settings are the string {assignments!r}.", hint=f"Give a list: [{assignments!r}]")
    tree: dict[str, Any] = {}
    if isinstance(assignments, Mapping):
        for path, value in assignments.items():
            tree = merge(tree, _assigned(path, value))
        return tree
    if not isinstance(assignments, Iterable):
        raise ConfigError(
            f"the settings are {assignments!r:.60}, neither strings section.key=value nor values by section.key.",
            hint='Example: ["train.epochs=3"], or {"train.epochs": 3}',
        )
    for assignment in assignments:
        if not isinstance(assignment, str):
            raise ConfigError(
                f"the setting {assignment!r:.60} is no string section.key=value.", hint='Example: ["train.epochs=3"]'
            )
        path, separator, text = assignment.partition("=")
        section, dot, key = path.strip().partition(".")
        if not (separator and dot and section and key):
            raise ConfigError(f"--set {assignment!r} is not section.key=value.", hint="Example: --set train.epochs=3")
        tree = merge(tree, {section: {key: _parse_value(text.strip())}})
    return tree


def _assigned(path: Any, value: Any) -> dict[str, Any]:
    section, dot, key = str(path).partition(".")
    if dot and section and key:
        return {section: {key: value}}
    if dot or not isinstance(value, Mapping):
        raise ConfigError(f"the setting {path!r} is not section.key.", hint='Example: {"train.epochs": 3}')
    return {section: dict(value)}


def _parse_value(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return read["value"] if len(read) == 1 else text  # of several lines, which would be settings of their own
