"""What may be meant by the id of a label that does not exist."""

from __future__ import annotations

from collections.abc import Iterable

JOINED = "Is that several labels? CSV has a|b for them, and JSON lines a list."
READ_AS_NUMBERS = "There is a label {!r:.100}: has a program read the ids as numbers? With pandas: dtype=str."
OTHER_LETTERS = "There is a label {!r:.100}: an id must be the same letter for letter, small or capital."
A_TEXT = "That is the text of the label {!r:.100}: write its id."


def hint_on_label(label_id: str, labels: Iterable[tuple[str, str]]) -> str:
    """What to do about an unknown label id, by the (id, text) of the labels that there are; '' where nothing is known.

    >>> hint_on_label("7.0", [("007", "Bond")]).partition(":")[0]
    "There is a label '007'"
    >>> hint_on_label("Swimming pools", [("pool", "swimming pools")]), hint_on_label("b", [("a", "x")])
    ("That is the text of the label 'pool': write its id.", '')
    """
    if {",", ";"} & {*label_id}:
        return JOINED
    number, letters = _bare(label_id), label_id.casefold()
    for there, text in labels:
        if _bare(there) == number:
            return READ_AS_NUMBERS.format(there)
        if there.casefold() == letters:
            return OTHER_LETTERS.format(there)
        if text.casefold() == letters:
            return A_TEXT.format(there)
    return ""


def _bare(label_id: str) -> str:
    """The same for all ways in which programs write one number that they read ids as: 007, 7 and 7.0."""
    return label_id.removesuffix(".0").lstrip("0") if label_id.removesuffix(".0").isdecimal() else label_id
