"""Which labels have a value under a key of their metadata, so that a filter need not ask every passage each time."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

IdsOf = dict[Hashable, tuple[Any, list[str]]]
MOST_CHANGED = 0.25  # above this share all is read anew, which costs no more


class ValueIndex:
    """Ids by the values of their metadata. A key is indexed when it is first asked for, by reading all metadata once.

    Of a key that nothing has nothing is remembered, so that there may be any number of them.
    `metadata` are JSON objects by id. Values are equal as in Python: 1, 1.0 and true are the same.
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self._metadata = metadata
        self._keys: frozenset[str] | None = None  # of all metadata
        self._ids_of: dict[str, IdsOf] = {}

    def ids(self, wanted: Mapping[str, Any]) -> list[str] | None:
        """The ids whose metadata have all these values; None where a value is not one that JSON makes.

        >>> index = ValueIndex({"a": '{"page": 3, "tags": ["x"]}', "b": '{"page": 3}'})
        >>> index.ids({"page": 3}), index.ids({"page": 3, "tags": ["x"]}), index.ids({"page": (3,)})
        (['a', 'b'], ['a'], None)
        """
        try:
            values = {key: comparable(value) for key, value in wanted.items()}
        except TypeError:
            return None
        if not values:
            return list(self._metadata)
        found = sorted((self._of(key).get(value, (None, []))[1] for key, value in values.items()), key=len)
        others = [set(ids) for ids in found[1:]]
        return [label_id for label_id in found[0] if all(label_id in other for other in others)]

    def under(self, key: str) -> Iterable[tuple[Any, list[str]]]:
        """Each value that stands under a key, with the ids that have it.

        >>> index = ValueIndex({"a": '{"page": 3}', "b": '{"page": 3.0}', "c": "{}"})
        >>> list(index.under("page"))
        [(3, ['a', 'b'])]
        """
        return self._of(key).values()

    def updated(self, metadata: Mapping[str, str]) -> ValueIndex:
        """`ValueIndex(metadata)`, of which only what differs from this one is read."""
        after = ValueIndex(metadata)
        if self._keys is None:
            return after
        gone_ids, new_ids = _differing(self._metadata, metadata), _differing(metadata, self._metadata)
        if len(gone_ids) + len(new_ids) > MOST_CHANGED * len(metadata):
            return after
        gone = {label_id: json.loads(self._metadata[label_id]) for label_id in gone_ids}
        new = {label_id: json.loads(metadata[label_id]) for label_id in new_ids}
        after._keys = self._keys.union(*new.values())
        after._ids_of = {key: _moved(ids_of, key, gone, new) for key, ids_of in list(self._ids_of.items())}
        return after

    def _of(self, key: str) -> IdsOf:
        if self._keys is not None and key not in self._keys:
            return {}
        if key not in self._ids_of:
            ids_of: IdsOf = {}
            keys: set[str] = set()
            for label_id, text in self._metadata.items():
                kept = json.loads(text)
                keys.update(kept)
                if key in kept:
                    ids_of.setdefault(comparable(kept[key]), (kept[key], []))[1].append(label_id)
            self._keys = frozenset(keys)
            if key not in keys:
                return {}
            self._ids_of[key] = ids_of
        return self._ids_of[key]


def _differing(metadata: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The ids whose metadata another mapping lacks or has otherwise."""
    return [label_id for label_id, text in metadata.items() if other.get(label_id) != text]


def _moved(ids_of: IdsOf, key: str, gone: Mapping[str, Any], new: Mapping[str, Any]) -> IdsOf:
    """The ids by the values of a key, without what is gone and with what is new."""
    after, out = dict(ids_of), gone.keys()
    for value in {comparable(kept[key]) for kept in gone.values() if key in kept}:
        shown, ids = after.pop(value)
        if left := [label_id for label_id in ids if label_id not in out]:
            after[value] = (shown, left)
    more: IdsOf = {}
    for label_id, kept in new.items():
        if key in kept:
            more.setdefault(comparable(kept[key]), (kept[key], []))[1].append(label_id)
    for value, (shown, into) in more.items():
        shown, ids = after.get(value, (shown, []))
        after[value] = (shown, ids + into)
    return after


def comparable(value: Any) -> Hashable:
    """Something to look up that is equal exactly where the values are.

    Raises: TypeError for what is none of the values of JSON.

    >>> comparable({"a": [1]}) == comparable({"a": [1.0]}), comparable([1]) == comparable({"a": 1})
    (True, False)
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if type(value) is list:
        return ("list", tuple(comparable(each) for each in value))
    if type(value) is dict:
        return ("object", frozenset((key, comparable(each)) for key, each in value.items()))
    raise TypeError(f"{type(value).__name__} is no value of JSON")
