"""A message says "1 label" of one and "2 labels" of two, wherever xmc counts."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from xmc.counted import counted, counted_that

ROOT = Path(__file__).parents[2]
NOUNS = r" (?:[a-z]+ )?(?:labels|queries|rows|shards|texts|ids|files|bytes|vectors|positives|numbers|lists)\b"
AFTER_ANOTHER = r" (?:of|has|is|in|for|and|or|to|that|reads|holds) "  # "1 of 3": said of the last of them


@pytest.mark.parametrize("one", ["query", "label text", "process", "index", "day", "row of features"])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_of_one_and_of_several(count, one):
    many = {"query": "queries", "process": "processes", "index": "indexes", "row of features": "rows of features"}
    expected = one if count == 1 else many.get(one, f"{one}s")
    assert counted(count, one, "rows of features" if " of " in one else "") == f"{count:,} {expected}"


def test_the_verb_goes_with_the_count():
    assert counted_that(1, "label", "are there already") == "1 label is there already"
    assert counted_that(3, "label", "are there already") == "3 labels are there already"
    assert counted_that(1, "row", "show no label") == "1 row shows no label"


def _bare_counts(source):
    """Each count with thousands separators before nouns that are always several; a constant is no count."""
    for node in ast.walk(ast.parse(source)):
        for value, after in pairwise(node.values) if isinstance(node, ast.JoinedStr) else ():
            words = after.value if isinstance(after, ast.Constant) else ""
            is_count = isinstance(value, ast.FormattedValue) and value.format_spec is not None
            if not is_count or ast.unparse(value.format_spec) != "f','" or ast.unparse(value.value).isupper():
                continue
            if re.match(NOUNS, words) and not re.match(AFTER_ANOTHER, words):
                yield f"{node.lineno}: {{{ast.unparse(value.value)}:,}}{words[:40]}"


def test_what_is_looked_for_is_found():
    assert list(_bare_counts('f"{n:,} labels"')) == ["1: {n:,} labels"]
    assert (
        len(list(_bare_counts('f"got {len(a):,} training queries; {n} rows, {counted(n, 1)} rows, {MOST:,} rows"')))
        == 1
    )


@pytest.mark.parametrize("folder", ["xmc", "plugins", "indexes"])
def test_no_message_counts_without_the_helper(folder):
    found = [
        f"{path.relative_to(ROOT)}:{place}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for place in _bare_counts(path.read_text(encoding="utf-8"))
    ]
    assert not found, "write {counted(n, 'label')}"
