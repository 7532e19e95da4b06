"""Whole-numbered Laplace noise, drawn exactly: integer arithmetic on bits of the system's secure generator.

A floating-point Laplace draw has gaps and uneven steps in its low bits, from which the value under the noise can be
read (Mironov, 2012). Here no real number occurs: every probability is a ratio of integers, or an alternating series of
such that is drawn term by term (the idea of von Neumann; for this law Canonne, Kamath, Steinke, 2020).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Words = Callable[[int], Array]
MAX_NUMERATOR = 2**32


def secure_words(count: int) -> Array:
    """`count` random 64-bit words from the operating system."""
    return np.frombuffer(secrets.token_bytes(8 * count), dtype=np.uint64)


def discrete_laplace(scale: Fraction, count: int, *, words: Words = secure_words) -> Array:
    """`count` independent whole numbers x with probability proportional to exp(−|x| / scale), (count,) int64.

    `words` may be replaced in tests only. Raises: ValueError when the scale is not above 0 or not a simple fraction.
    """
    if not (scale > 0 and scale.numerator <= MAX_NUMERATOR and scale.denominator <= MAX_NUMERATOR):
        raise ValueError(f"scale must be a fraction > 0 of numbers up to {MAX_NUMERATOR:,}, got {scale}")
    found: list[Array] = []
    missing = count
    while missing > 0:
        drawn = _attempts(scale, 2 * missing + 16, words)[:missing]
        found.append(drawn)
        missing -= len(drawn)
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _attempts(scale: Fraction, count: int, words: Words) -> Array:
    """Up to `count` draws. A geometric x of ratio exp(−1 / numerator), x // denominator, and a sign; no two zeros."""
    low = uniform_below(scale.numerator, count, words)
    low = low[bernoulli_exp(low, scale.numerator, words)]
    size = (low + scale.numerator * _unit_geometric(len(low), words)) // scale.denominator
    negative = uniform_below(2, len(size), words) == 1
    kept = ~(negative & (size == 0))
    return np.where(negative, -size, size)[kept]


def _unit_geometric(count: int, words: Words) -> Array:
    """How often a coin of probability exp(−1) falls in a row, (count,)."""
    runs, alive = np.zeros(count, np.int64), np.arange(count)
    while len(alive):
        alive = alive[bernoulli_exp(np.ones(len(alive), np.int64), 1, words)]
        runs[alive] += 1
    return runs


def bernoulli_exp(numerators: Array, denominator: int, words: Words = secure_words) -> Array:
    """True with probability exp(−numerator / denominator) for each numerator from 0 to the denominator, (N,) bool.

    With g = numerator / denominator: the number K of the first coin of probability g / K to fail (K = 1, 2, ...) is
    above k with probability g^k / k!, so it is odd with probability 1 − g + g²/2! − ... = exp(−g).
    """
    odd, alive = np.zeros(len(numerators), bool), np.arange(len(numerators))
    number = 1
    while len(alive):
        goes_on = uniform_below(denominator * number, len(alive), words) < numerators[alive]
        odd[alive[~goes_on]] = number % 2 == 1
        alive, number = alive[goes_on], number + 1
    return odd


def uniform_below(bound: int, count: int, words: Words = secure_words) -> Array:
    """`count` whole numbers from 0 to bound − 1, each as likely, (count,) int64; words above a multiple are refused."""
    last = np.uint64(2**64 - 2**64 % bound - 1)
    found = words(count)
    while len(refused := np.flatnonzero(found > last)):
        found = found.copy()
        found[refused] = words(len(refused))
    return (found % np.uint64(bound)).astype(np.int64)
