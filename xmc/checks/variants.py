"""All the texts that an attacker may write, where they are few enough to be listed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import prod

from xmc.checks.additive import radius_of
from xmc.substitutions.word_sets import Site, replaced


def variant_count(sites: Sequence[Site], radius: int) -> int:
    """Number of texts within a radius (0 = all sites), the text itself counted.

    Computed as the sum of the elementary symmetric polynomials of the numbers of substitutes.

    >>> site = Site(0, 1, "a", ("b", "c"))
    >>> variant_count([site, site], 1), variant_count([site, site], 0)
    (5, 9)
    """
    if radius_of(radius, len(sites)) == len(sites):
        return prod(1 + len(site.substitutes) for site in sites)
    ways = [1] + [0] * radius
    for site in sites:
        for changed in range(radius, 0, -1):
            ways[changed] += ways[changed - 1] * len(site.substitutes)
    return sum(ways)


def variants(text: str, sites: Sequence[Site], radius: int) -> Iterator[str]:
    """Every text within a radius, those with fewer changes first; the text itself is the first.

    >>> list(variants("a", [Site(0, 1, "a", ("b", "c"))], 1))
    ['a', 'b', 'c']
    """
    for changed in range(radius_of(radius, len(sites)) + 1):
        for places in itertools.combinations(sites, changed):
            for words in itertools.product(*(site.substitutes for site in places)):
                yield replaced(text, zip(places, words, strict=True))
