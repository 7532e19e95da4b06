"""How messages say how many there are of something."""

from __future__ import annotations

import re

OF_ONE = {"have": "has", "are": "is", "were": "was"}
IES = re.compile("(?<=[^aeiou])y$")
ES = re.compile("[sx]$")


def counted(count: int, one: str, many: str = "") -> str:
    """A count before what is counted; `many` is for words that end otherwise: where a verb follows, say.

    >>> [counted(count, "training query") for count in (0, 1, 1234)]
    ['0 training queries', '1 training query', '1,234 training queries']
    >>> counted(1, "row is", "rows are"), counted(2, "process")
    ('1 row is', '2 processes')
    """
    return f"{count:,} {one if count == 1 else many or plural(one)}"


def counted_that(count: int, one: str, says: str) -> str:
    """The same with what is said of several, which begins with a verb.

    >>> counted_that(1, "query", "have no answer"), counted_that(2, "query", "have no answer")
    ('1 query has no answer', '2 queries have no answer')
    >>> counted_that(1, "row", "show no label")
    '1 row shows no label'
    """
    verb, _, rest = says.partition(" ")
    return f"{counted(count, one)} {OF_ONE.get(verb, f'{verb}s') if count == 1 else verb} {rest}"


def plural(noun: str) -> str:
    """The plural of a noun, as most have it."""
    return IES.sub("ie", noun) + ("es" if ES.search(noun) else "s")
