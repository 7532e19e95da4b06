"""What a release promises and what not, in words and numbers, without a number that depends on a private label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xmc.privacy.bag_release import Mechanism

RECEIPT_NAME = "privacy.json"
FORMAT = "xmc-privacy/1"
PROMISE = (
    "epsilon-label differential privacy: whoever knows the texts and the labels of all other queries, and replaces the"
    " labels of one query, changes the probability of any released table by a factor of at most exp(epsilon)."
)
PUBLIC = (
    "the list of labels and their texts",
    "which queries are in the data set, their ids and their texts",
    "which queries share a bag, drawn at random without a look at any label",
    "all numbers of this receipt",
)
NOT_PROMISED = (
    "not user-level privacy: somebody with several queries is protected for each of them alone",
    "texts are not protected, nor what a text tells about its label",
    "not that somebody's label cannot be guessed: it is what the rest of the data says about such texts",
    "releases of the same labels add up: two with this epsilon have twice of it",
    "figures measured with the private row labels, such as an evaluation, are not covered",
)
SAMPLER = "discrete Laplace by integer arithmetic on bits of the operating system's secure generator, no seed kept"


def receipt(
    mechanism: Mechanism, *, queries: int, labels: int, group_prefix: int = 0, public: Sequence[str] = ()
) -> dict[str, Any]:
    """The receipt as plain values."""
    scale = mechanism.scale
    return {
        "format": FORMAT,
        "promise": PROMISE,
        "epsilon": str(mechanism.epsilon),
        "bag_size": mechanism.bag_size,
        "labels_counted_per_query": mechanism.clip,
        "queries": queries,
        "bags": math.ceil(queries / mechanism.bag_size),
        "labels": labels,
        "labels_joined_by_prefix": group_prefix,
        "sensitivity_of_counts": 2 * mechanism.clip,
        "noise_scale_of_counts": str(scale),
        "noise_scale_of_means": str(scale / mechanism.bag_size),
        "noise_standard_deviation_of_counts": round(mechanism.standard_deviation, 4),
        "noise_on": "every label of every bag, those that do not occur included",
        "left_out_after_noise": f"counts of at most {mechanism.threshold}",
        "sampler": SAMPLER,
        "public": list(PUBLIC),
        "released_with_row_labels": list(public),
        "not_promised": list(NOT_PROMISED),
    }
