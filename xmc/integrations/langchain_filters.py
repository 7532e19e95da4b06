"""LangChain's filters: keys and values, operators as other stores have them, or a function of a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from xmc.errors import ConfigError
from xmc.integrations.extras import from_extra
from xmc.integrations.metadata_filters import Equals, Joined, LookedUp, Not, OfValue, OneOf
from xmc.values import Passage

with from_extra("langchain", package="langchain-core"):
    from langchain_core.documents import Document

Filter = Mapping[str, Any] | Callable[[Document], bool]
ORDERS: dict[str, Callable[[Any, Any], bool]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}
OF_A_VALUE = ("$eq", "$ne", "$in", "$nin", *ORDERS)
OF_FILTERS = ("$and", "$or", "$not")


def document_of(passage: Passage, metadata: dict[str, Any] | None = None) -> Document:
    """A passage as LangChain has it."""
    return Document(
        id=passage.id, page_content=passage.text, metadata=passage.metadata if metadata is None else metadata
    )


def keeper(filter: Filter | None) -> Callable[[Passage], bool] | None:
    """What a filter, keys and values or a function of a document, keeps.

    Raises: ConfigError for something else, and for an operator that there is not.

    >>> keeper({"page": {"$gt": 2}, "tag": "x"})(Passage("a", "apple", {"page": 3, "tag": "x"}))
    True
    """
    if filter is None:
        return None
    if callable(filter):
        return lambda passage: bool(filter(document_of(passage)))
    return _all_of(filter)


def _all_of(filter: Any) -> LookedUp:
    """A dictionary as a filter that is looked up."""
    if not isinstance(filter, Mapping):
        raise ConfigError(f"a filter must be a dictionary or a function of a document, got {filter!r:.60}.")
    return Joined("and", tuple(_part(key, value) for key, value in filter.items()))


def _part(key: str, value: Any) -> LookedUp:
    if str(key).startswith("$"):
        return _of_filters(key, value)
    if isinstance(value, Mapping) and any(str(name).startswith("$") for name in value):
        return Joined("and", tuple(_of_value(key, name, operand) for name, operand in value.items()))
    return Equals({key: value})


def _of_filters(operator: str, operand: Any) -> LookedUp:
    if operator == "$not":
        return Not(_all_of(operand))
    if operator not in OF_FILTERS:
        raise _unknown(operator, OF_FILTERS)
    if not isinstance(operand, list | tuple):
        raise ConfigError(f"'{operator}' takes a list of filters, got {operand!r:.60}.")
    return Joined("or" if operator == "$or" else "and", tuple(_all_of(each) for each in operand))


def _of_value(key: str, operator: str, operand: Any) -> LookedUp:
    if operator not in OF_A_VALUE:
        raise _unknown(operator, OF_A_VALUE)
    if operator in ORDERS:
        if type(operand) not in (int, float, str):
            raise ConfigError(f"'{operator}' takes a number or a text, got {operand!r:.60}.")
        return OfValue(key, lambda value: _compares(key, value, operator, operand), repr((key, operator, operand)))
    is_list = operator in ("$in", "$nin")
    if is_list and not isinstance(operand, list | tuple):
        raise ConfigError(f"'{operator}' takes a list, got {operand!r:.60}.")
    found = OneOf(key, tuple(operand) if is_list else (operand,))
    return found if operator in ("$eq", "$in") else Not(found)


def _compares(key: str, value: Any, operator: str, operand: Any) -> bool:
    """Whether a value stands so to the operand; none does where there is none. Raises: ConfigError."""
    if value is None:
        return False
    try:
        return ORDERS[operator](value, operand)
    except TypeError as error:
        raise ConfigError(
            f"{operator} {operand!r:.60} cannot be asked of {value!r:.60}, which a passage has under '{key}': {error}.",
            hint="Leave such passages out by a key before it, or give them another value.",
        ) from error


def _unknown(operator: str, known: tuple[str, ...]) -> ConfigError:
    return ConfigError(
        f"a filter has no operator '{operator}'; there are: {', '.join(known)}.",
        hint="Write a function: filter=lambda document: document.metadata.get('page', 0) > 2",
    )
