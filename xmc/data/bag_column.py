"""The column `bag_id` of a query table: which queries share a label that is known for all of them together only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from xmc.errors import DataError
from xmc.values import Positives


def read_bag_ids(column: Any, positives: Positives, *, source: str) -> list[str]:
    """The bag of each query.

    Raises: DataError when one is null or empty, or when two queries of a bag have different positives or weights.
    """
    bag_ids: list[str] = column.cast(pa.large_string()).fill_null("").to_pylist()
    if "" in bag_ids:
        raise DataError(f"{source}: column 'bag_id' is null or empty in row {bag_ids.index('')}.")
    first: dict[str, int] = {}
    for row, bag_id in enumerate(bag_ids):
        other = first.setdefault(bag_id, row)
        if other != row and not _same(positives, row, other):
            raise DataError(
                f"{source}: rows {other} and {row} are in bag '{bag_id}' and have different positives.",
                hint="The label of a bag stands in each of its rows. Where rows have labels, leave out 'bag_id'.",
            )
    return bag_ids


def _same(positives: Positives, row: int, other: int) -> bool:
    own, its = (slice(positives.offsets[each], positives.offsets[each + 1]) for each in (row, other))
    return np.array_equal(positives.label_rows[own], positives.label_rows[its]) and np.array_equal(
        positives.weights[own], positives.weights[its]
    )
