"""The fingerprint of a data set: equal for equal content, whatever files, shards and compression it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from xmc.data.tables import LabelTable, QueryTable


def fingerprint_of(labels: LabelTable, splits: Mapping[str, QueryTable]) -> str:
    """Hex SHA-256 over ids, texts, positives, weights and bags of all tables, in row order.

    >>> fingerprint_of(LabelTable(["a"], ["b"]), {}) == fingerprint_of(LabelTable(["ab"], [""]), {})
    False
    """
    digest = hashlib.sha256(b"xmc data set 1")
    _feed_strings(digest, labels.ids)
    _feed_strings(digest, labels.texts)
    for name in sorted(splits):
        queries = splits[name]
        _feed_strings(digest, [name])
        _feed_strings(digest, queries.ids)
        _feed_strings(digest, queries.texts)
        digest.update(queries.positives.offsets.astype("<i8").tobytes())
        digest.update(queries.positives.label_rows.astype("<i4").tobytes())
        digest.update(queries.positives.weights.astype("<f4").tobytes())
        if queries.bag_ids is not None:
            _feed_strings(digest, queries.bag_ids)
    return digest.hexdigest()


def _feed_strings(digest: hashlib._Hash, strings: Sequence[str]) -> None:
    encoded = [text.encode() for text in strings]
    digest.update(len(encoded).to_bytes(8, "little"))
    digest.update(np.array([len(text) for text in encoded], dtype="<i8").tobytes())
    digest.update(b"".join(encoded))
