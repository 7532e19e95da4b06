"""Fewer and coarser labels, by what is public about them: their ids. Noise drowns rare labels; groups are not rare."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from xmc.data.tables import LabelTable, QueryTable
from xmc.ragged import offsets_of
from xmc.values import Positives

WORDS_OF_A_GROUP = 12


def group_by_prefix(labels: LabelTable, length: int) -> tuple[LabelTable, np.ndarray[Any, Any]]:
    """The groups of labels whose ids begin with the same `length` characters, and the group row of each label, (L,).

    A group's id is that beginning, its text the words that most of its labels' texts have.

    >>> groups, group_L = group_by_prefix(LabelTable(["A1", "A2", "B1"], ["red fish", "blue fish", "bird"]), 1)
    >>> groups.ids, groups.texts, group_L.tolist()
    (['A', 'B'], ['fish blue red', 'bird'], [0, 0, 1])
    """
    ids, group_L = np.unique(np.array([label_id[:length] for label_id in labels.ids]), return_inverse=True)
    words: list[Counter[str]] = [Counter() for _ in ids]
    for text, group in zip(labels.texts, group_L, strict=True):
        words[group].update(set(re.findall(r"\w{3,}", text.lower())))
    texts = [" ".join(_most_frequent(found)) or str(group_id) for found, group_id in zip(words, ids, strict=True)]
    return LabelTable([str(group_id) for group_id in ids], texts), group_L


def _most_frequent(found: Counter[str]) -> list[str]:
    return sorted(found, key=lambda word: (-found[word], word))[:WORDS_OF_A_GROUP]


def with_groups(queries: QueryTable, group_L: np.ndarray[Any, Any]) -> QueryTable:
    """The queries with the groups of their labels as positives, each once and of weight 1."""
    groups, positives = int(group_L.max()) + 1, queries.positives
    found = np.unique(positives.query_rows() * groups + group_L[positives.label_rows])
    offsets = offsets_of(np.bincount(found // groups, minlength=len(queries)))
    grouped = Positives(offsets, (found % groups).astype(np.int32), np.ones(len(found), np.float32))
    return QueryTable(queries.ids, queries.texts, grouped)
