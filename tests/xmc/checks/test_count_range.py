"""Invariant: the spans are those of all single steps that a few substitutions may take, one by one, in any order."""

import itertools

import pytest

from xmc.checks.count_range import CountRange, weight


def spans(steps):
    """Least and greatest change of the weight, and of its square, over steps from one count to another."""
    changes = [(weight(to) - weight(of), weight(to) ** 2 - weight(of) ** 2) for of, to in steps]
    return [(min(column), max(column)) for column in zip(*changes, strict=True)]


@pytest.mark.parametrize("count", range(5))
def test_the_spans_are_those_of_every_step(count):
    for removable, addable, radius in itertools.product(range(count + 1), range(4), range(1, 5)):
        word = CountRange(count, removable, addable, radius)
        before = [
            (lost, come)
            for lost, come in itertools.product(range(removable + 1), range(addable + 1))
            if lost + come < radius
        ]
        losses = [(count - lost + come, count - lost + come - 1) for lost, come in before if lost < removable]
        gains = [(count - lost + come, count - lost + come + 1) for lost, come in before if come < addable]
        for found, steps in ((word.loss, losses), (word.gain, gains)):
            for span, wanted in zip(found, spans(steps), strict=True) if steps else ():
                assert span == pytest.approx(wanted)
