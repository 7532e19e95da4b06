"""Invariants: no step is measured above the first that passes; the border is found by halving; it ends."""

from xmc.tune.ladder import HALVINGS, climb, midpoint


def test_the_smallest_value_that_passes_is_among_the_points():
    steps = [{"n": 2**power} for power in range(12)]
    for border in (1, 2, 3, 77, 1000, 2048):
        points = climb(steps, lambda step: step["n"], passed=lambda n, border=border: n >= border)
        assert border in points and len(points) == len(set(points)) and max(points) < 2 * border


def test_it_ends_without_passing_after_few_halvings_and_where_it_is_in_vain():
    assert climb([{"n": 1}, {"n": 5}], lambda step: step["n"], passed=lambda n: False) == [1, 5]
    points = climb([{"n": 0}, {"n": 10**9}], lambda step: step["n"], passed=lambda n: n > 3)
    assert len(points) == 2 + HALVINGS
    vain = climb(
        [{"n": n} for n in range(9)], lambda step: step["n"], passed=lambda n: n > 7, hopeless=lambda p: len(p) > 2
    )
    assert vain == [0, 1, 2]


def test_it_is_settled_with_what_is_near_enough():
    points = climb(
        [{"n": 0}, {"n": 64}], lambda step: step["n"], passed=lambda n: n >= 10, settled=lambda n: 10 <= n <= 20
    )
    assert points == [0, 64, 32, 16]
    assert climb([{"n": 0}, {"n": 12}], lambda s: s["n"], passed=lambda n: n >= 10, settled=lambda n: n < 20) == [0, 12]


def test_middles():
    assert midpoint({"a": 1, "b": 8}, {"a": 3, "b": 16}) == {"a": 2, "b": 12}
    assert midpoint({"a": 1}, {"a": 2}) is None and midpoint({"a": 1}, {"b": 9}) is None
    assert midpoint({"a": False}, {"a": True}) is None and midpoint({"a": 0.5}, {"a": 9.5}) is None
    assert midpoint({}, {}) is None
