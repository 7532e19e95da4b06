"""Invariants: the kit accepts an augmentation that keeps the contract and names the promise that another one breaks."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from xmc.testing import ConformanceError, check_augmentation
from xmc.train.no_augmentation import NoAugmentation


@dataclass(frozen=True)
class Upper:
    """Upper case in odd epochs."""

    letters: int = 3

    def build(self, context):
        return UpperTexts(context.texts)

    def fingerprint(self):
        return ""


@dataclass
class UpperTexts:
    texts: list
    needs_model = False

    def rewrite(self, query_rows_N, epoch, model):
        return [self.texts[row].upper() if epoch % 2 else self.texts[row] for row in query_rows_N.tolist()]


def rewriting(rewrite, **parts):
    """Options like `Upper` whose augmentation rewrites in another way."""
    augmentation = type("Other", (UpperTexts,), {"rewrite": rewrite})
    build = lambda self, context: augmentation(context.texts)  # noqa: E731
    return dataclass(frozen=True)(type("Broken", (Upper,), {"build": build, **parts}))()


COUNT = itertools.count()


def by_epochs_seen(self, rows, epoch, model):
    """Right while all epochs are asked in order, and wrong where a run is resumed."""
    self.seen = {*getattr(self, "seen", ()), epoch}
    return [str(len(self.seen)) for _ in rows]


def seeded(self, rows, epoch, model):
    """The same each time, but so is everything that draws after it."""
    torch.manual_seed(epoch)
    return [self.texts[row] for row in rows]


def test_what_keeps_the_contract_passes():
    check_augmentation(Upper())


@pytest.mark.parametrize(
    ("options", "promise"),
    [
        (NoAugmentation(), "answers an Augmentation"),
        (rewriting(lambda self, rows, epoch, model: [self.texts[0]]), "a text for each query"),
        (rewriting(lambda self, rows, epoch, model: [str(next(COUNT)) for _ in rows]), "built anew"),
        (rewriting(lambda self, rows, epoch, model: [str(place) for place in range(len(rows))]), "the order of"),
        (rewriting(lambda self, rows, epoch, model: [str(len(rows))] * len(rows)), "the other queries"),
        (rewriting(seeded), "torch's random generator is left alone"),
        (rewriting(by_epochs_seen), "a resumed run, without the epochs before, has the same"),
        (rewriting(UpperTexts.rewrite, fingerprint=lambda self: str(next(COUNT))), "the same fingerprint"),
        (rewriting(lambda self, rows, epoch, model: rows.tolist()), "a text for each query"),
        (rewriting(lambda self, rows, epoch, model: [self.texts[row] for row in rows] or ["none"]), "queries=0, got="),
    ],
)
def test_what_breaks_it_is_named(options, promise):
    with pytest.raises(ConformanceError, match=promise):
        check_augmentation(options)
