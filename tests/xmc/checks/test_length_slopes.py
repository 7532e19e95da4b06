"""Invariant: summed over edits, the shares of each lie below and above what the length really does."""

import math

import numpy as np

from xmc.checks.length_slopes import LengthSlopes


def test_shares_add_up_to_bounds():
    generator = np.random.default_rng(0)
    tight = 0
    for _ in range(500):
        square = generator.uniform(1, 20)
        changes = generator.uniform(-0.3, 0.5, size=3) * square * generator.choice([0.1, 0.5, 1.0])
        shortest = math.sqrt(max(0.02, square + changes.clip(max=0).sum()))
        longest = math.sqrt(square + changes.clip(min=0).sum())
        slopes = LengthSlopes.of((math.sqrt(square), shortest, longest), 0.1, 1.0)
        shares = np.array([slopes.range_of((one, one)) for one in changes.tolist()]).sum(axis=0)
        true = 1 / math.sqrt(square + changes.sum()) - 1 / math.sqrt(square)
        assert shares[0] - 1e-12 <= true <= shares[1] + 1e-12
        tight += shares[1] - shares[0] < 1 / shortest - 1 / longest  # the range without regard to the edits
    assert tight > 450


def test_a_block_that_may_become_empty_has_none():
    assert LengthSlopes.of((1.0, 0.5, 2.0), 0.5, 1.0) is None
