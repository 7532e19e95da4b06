"""What to do with a table whose columns have other names than an import reads, or stand for the labels themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from xmc.errors import first_few

NUMBERED = re.compile(r"labels?[ _.-]?\d+", re.IGNORECASE)  # a column for each label of a query
MARKS = frozenset({"0", "1", "0.0", "1.0", "true", "false"})


def hint_on_columns(missing: Sequence[str], there: Sequence[str], row: Mapping[str, Any]) -> str:
    """What to do about `missing` columns, by the names that are `there` and the first row; '' where nothing is known.

    >>> hint_on_columns(["text", "labels"], ["n", "Text", "label"], {})
    "Rename 'Text' to 'text' and 'label' to 'labels'."
    >>> hint_on_columns(["labels"], ["text", "label1", "label2"], {})
    "Put label1 and label2 into one column 'labels', in which a row reads a|b."
    >>> hint_on_columns(["labels"], ["text", "a", "b"], {"text": "x", "a": 0, "b": 1}).partition(":")[0]
    'If a, b are labels, and a row has a 1 below its own, put them into one column'
    """
    others = [name for name in there if name not in ("id", "text", "labels", "relevance")]
    on_labels = _on_labels(others, row) if "labels" in missing else ""
    names = {name.lower(): name for name in others}
    close = {
        column: [name for name in names if name.endswith(f"_{column}")] or get_close_matches(column, names, n=1)
        for column in missing
        if column != "labels" or not on_labels
    }
    renamed = [f"'{names[found[0]]}' to '{column}'" for column, found in close.items() if found]
    on_names = f"Rename {' and '.join(renamed)}." if renamed and len(there) > 1 else ""
    return f"{on_labels} {on_names}".strip()


def _on_labels(names: Sequence[str], row: Mapping[str, Any]) -> str:
    numbered = [name for name in names if NUMBERED.fullmatch(name)]
    if len(numbered) > 1:
        return f"Put {' and '.join(numbered)} into one column 'labels', in which a row reads a|b."
    marked = [name for name in names if str(row.get(name, "")).strip().lower() in MARKS]
    if len(marked) < 2:
        return ""
    joined = """df["labels"] = df[names].apply(lambda row: "|".join(row.index[row == 1]), axis=1)"""
    return (
        f"If {first_few(marked, str, most=3)} are labels, and a row has a 1 below its own, put them into one column: "
        f"in pandas, with `names` the list of them, {joined}"
    )
