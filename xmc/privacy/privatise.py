"""Release a data set whose row labels are private: a folder of noisy bag labels with a receipt of what it promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.data.dataset import Dataset, load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import QueryTable, label_table_to_arrow, query_table_to_arrow
from xmc.errors import ConfigError
from xmc.privacy.bag_release import Mechanism
from xmc.privacy.discrete_laplace import MAX_NUMERATOR
from xmc.privacy.label_groups import group_by_prefix, with_groups
from xmc.privacy.receipt import RECEIPT_NAME, receipt
from xmc.store import new_folder, require_new, write_json

MAX_COUNTS = 2**24
_LEAST = 1e-30  # of a numerator or denominator of epsilon


def privatise(
    data: str | Path,
    out: Path,
    *,
    epsilon: str,
    bag_size: int,
    clip: int = 1,
    threshold: int = 0,
    group_prefix: int = 0,
    public: str | Sequence[str] = (),
) -> dict[str, Any]:
    """Write the training queries of `data` with noisy labels of bags instead of their own; the receipt.

    `epsilon` is a decimal or a fraction ("1", "0.5", "1/3"), taken exactly. Other splits are left out, for their labels
    are as private; those named in `public` are copied with their labels. `group_prefix` joins labels whose ids begin
    with the same so many characters. The folder, with the receipt in `privacy.json`, appears whole or not at all.
    Raises: ConfigError for a setting that cannot work, a release of so many counts that they cannot all get noise, or
    one that no count is left of.
    """
    require_new(out)
    public = [public] if isinstance(public, str) else public
    mechanism = _mechanism(epsilon, bag_size, clip, threshold, group_prefix)
    source = load_dataset(data)
    _check_source(source, public)
    labels, splits = source.labels, {name: source.splits[name] for name in ("train", *public)}
    if group_prefix:
        labels, group_L = group_by_prefix(labels, group_prefix)
        splits = {name: with_groups(queries, group_L) for name, queries in splits.items()}
    _check_size(mechanism, queries=len(splits["train"]), labels=len(labels))
    splits["train"] = mechanism.release(splits["train"], len(labels))
    _check_release(mechanism, splits["train"])
    written = receipt(
        mechanism, queries=len(splits["train"]), labels=len(labels), group_prefix=group_prefix, public=public
    )
    with new_folder(out, kind="private-data") as folder:
        write_table(folder / "labels.parquet", label_table_to_arrow(labels))
        for name, queries in splits.items():
            write_table(folder / f"{name}.parquet", query_table_to_arrow(queries))
        write_json(folder / RECEIPT_NAME, written)
    return written


def _mechanism(epsilon: str, bag_size: int, clip: int, threshold: int, prefix: int) -> Mechanism:
    exact = _fraction(epsilon)
    if exact <= 0:
        raise ConfigError(
            f"--epsilon must be a number > 0 and below 1e30, got '{epsilon:.60}'.", hint="Examples: 1, 0.5, 1/3."
        )
    least_of = (("bag-size", bag_size, 1), ("clip", clip, 1), ("threshold", threshold, 0), ("group-prefix", prefix, 0))
    for name, value, least in least_of:
        if value < least:
            raise ConfigError(f"--{name} must be >= {least}, got {value}.")
    mechanism = Mechanism(exact, bag_size, clip, threshold)
    if max(mechanism.scale.numerator, mechanism.scale.denominator) > MAX_NUMERATOR:
        raise ConfigError(
            f"the scale of the noise, 2 x {clip} / {epsilon}, is not a ratio of numbers up to {MAX_NUMERATOR:,}.",
            hint="Give --epsilon with fewer digits.",
        )
    return mechanism


def _fraction(epsilon: str) -> Fraction:
    """Exactly this number, 0 for what is none, or beyond all reason: to work out 1e99999999 would take for ever."""
    try:
        parts = [float(part) for part in epsilon.split("/")]
        return Fraction(epsilon) if all(_LEAST < part < 1 / _LEAST for part in parts) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        return Fraction(0)


def _check_source(source: Dataset, public: Sequence[str]) -> None:
    allowed = [name for name in source.splits if name != "train"]
    for name in public:
        if name not in allowed:
            raise ConfigError(
                f"--public '{name}' is not one of: {', '.join(allowed) or 'none'}.",
                hint="It names splits whose row labels anyone may see; the training labels are what is protected.",
            )
    if source.train.bag_ids is not None:
        raise ConfigError(
            f"the data set '{source.name}' has labels of bags already, and their row labels are not in it.",
            hint="Give the data set with row labels.",
        )


def _check_size(mechanism: Mechanism, *, queries: int, labels: int) -> None:
    if mechanism.bag_size > queries:
        raise ConfigError(f"--bag-size {mechanism.bag_size} is more than the {counted(queries, 'training query')}.")
    bags = math.ceil(queries / mechanism.bag_size)
    if bags * labels > MAX_COUNTS:
        raise ConfigError(
            f"{counted(bags, 'bag')} x {counted(labels, 'label')} are "
            f"{counted(bags * labels, 'count')}, more than the {MAX_COUNTS:,} allowed, and"
            " each must get noise: to release only the labels that occur in a bag would tell which do.",
            hint="Join labels (--group-prefix 1), take larger bags, or import the data with public, coarser labels."
            " So rare labels would drown in the noise anyway.",
        )


def _check_release(mechanism: Mechanism, released: QueryTable) -> None:
    """Raises: ConfigError when no count is left, which whoever has the release would see as well."""
    if not released.positives.counts().any():
        raise ConfigError(
            f"no noisy count of any label is above --threshold {mechanism.threshold}, so there is nothing to train on: "
            f"a label that all queries of a bag have counts {mechanism.bag_size}, and the noise on it has a standard "
            f"deviation of {mechanism.standard_deviation:.3g}.",
            hint="Lower --threshold, or leave it out.",
        )
