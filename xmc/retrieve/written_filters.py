"""Filters on metadata as they are written down: keys with the values that they must have, or with operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xmc.errors import ConfigError
from xmc.retrieve.metadata_filters import Equals, Joined, LookedUp, Not, OfValue, OneOf
from xmc.retrieve.order_filter import ORDERS, Compared
from xmc.retrieve.passage_records import VALUES, as_json

LISTS = ("$in", "$nin")
OF_A_VALUE = ("$eq", "$ne", *LISTS, *ORDERS)
OF_FILTERS = ("$and", "$or", "$not")


def read_filter(written: Any) -> LookedUp:
    """A dictionary of keys and values, or of operators, as a filter that is looked up.

    Raises: ConfigError for something else, for an operator that there is not, and for a value that no metadata have.

    >>> from xmc.values import Passage
    >>> read_filter({"page": {"$gt": 2}, "tag": "x"})(Passage("a", "apple", {"page": 3, "tag": "x"}))
    True
    """
    if not isinstance(written, Mapping):
        raise ConfigError(f"a filter must be a dictionary of keys and values, got {written!r:.60}.")
    return Joined("and", tuple(_part(key, value) for key, value in written.items()))


def compared(key: str, operator: str, operand: Any) -> LookedUp:
    """What stands under a key, compared by one of the operators of `OF_A_VALUE`.

    Raises: ConfigError for another operator, and for an operand that it does not take or that no metadata have.

    >>> from xmc.values import Passage
    >>> [compared("page", "$lt", 3)(Passage("a", "apple", kept)) for kept in ({"page": 2}, {"page": 3}, {})]
    [True, False, False]
    """
    if operator not in OF_A_VALUE:
        raise _unknown(operator, OF_A_VALUE)
    if operator in LISTS:
        if not isinstance(operand, list | tuple):
            raise ConfigError(f"'{operator}' takes a list, got {operand!r:.60}.")
        operand = [_number(each) for each in operand]
    operand = _value(key, operand)
    if operator in ORDERS:
        if type(operand) not in (int, float, str):
            raise ConfigError(f"'{operator}' takes a number or a text, got {operand!r:.60}.")
        return Compared(key, operator, operand)
    found = OneOf(key, tuple(operand) if operator in LISTS else (operand,))
    return found if operator in ("$eq", "$in") else Not(found)


def comparisons(keep: LookedUp) -> Iterator[LookedUp]:
    """The parts of a filter that ask for values, without what joins them."""
    if isinstance(keep, Joined):
        for part in keep.parts:
            yield from comparisons(part)
    elif isinstance(keep, Not):
        yield from comparisons(keep.part)
    else:
        yield keep


def write_filter(keep: Any) -> dict[str, Any] | None:
    """What `read_filter` reads as this filter; None for one that no dictionary says.

    >>> write_filter(read_filter({"page": {"$gt": 2}, "$not": {"tag": "x"}}))
    {'$and': [{'$and': [{'page': {'$gt': 2}}]}, {'$not': {'$and': [{'$and': [{'tag': {'$eq': 'x'}}]}]}}]}
    """
    if isinstance(keep, Equals):
        return {"$and": [{key: {"$eq": value}} for key, value in keep.wanted.items()]}
    if isinstance(keep, OneOf):
        return {keep.key: {"$in": list(keep.values)}}
    if isinstance(keep, Compared):
        return {keep.key: {keep.operator: keep.operand}}
    if isinstance(keep, OfValue):
        return None if keep.written is None else dict(keep.written)
    if isinstance(keep, Not):
        part = write_filter(keep.part)
        return None if part is None else {"$not": part}
    parts = [write_filter(part) for part in keep.parts] if isinstance(keep, Joined) else [None]
    return None if None in parts else {f"${keep.by}": parts}


def _part(key: Any, value: Any) -> LookedUp:
    if not isinstance(key, str):
        raise ConfigError(f"the keys of metadata are texts, and a filter has {key!r:.60}.")
    if key.startswith("$"):
        return _of_filters(key, value)
    if isinstance(value, Mapping) and any(str(name).startswith("$") for name in value):
        return Joined("and", tuple(compared(key, name, operand) for name, operand in value.items()))
    return Equals({key: _value(key, value)})


def _value(key: str, value: Any) -> Any:
    """A value that metadata can have. Raises: ConfigError for another, which nothing would have."""
    value = _number(value)
    try:
        as_json(value)
    except ValueError as error:
        raise ConfigError(
            f"a filter cannot compare '{key}' with a value of type {type(value).__name__}: {error}.", hint=VALUES
        ) from None
    return value


def _number(value: Any) -> Any:
    """A number of numpy as Python's."""
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


def _of_filters(operator: str, operand: Any) -> LookedUp:
    if operator == "$not":
        return Not(read_filter(operand))
    if operator not in OF_FILTERS:
        raise _unknown(operator, OF_FILTERS)
    if not isinstance(operand, list | tuple):
        raise ConfigError(f"'{operator}' takes a list of filters, got {operand!r:.60}.")
    return Joined("or" if operator == "$or" else "and", tuple(read_filter(each) for each in operand))


def _unknown(operator: str, known: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"a filter has no operator '{operator}'; there are: {', '.join(known)}.",
        hint="LangChain takes a function over a run folder: filter=lambda document: document.metadata['page'] > 2",
    )
