"""Invariants: ids that are given twice are counted and named, in one pass over them."""

import pytest

from xmc.engine.given_labels import check_ids
from xmc.errors import DataError


class CountedId(str):
    """A string that counts how often one is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        CountedId.compared += 1
        return str.__eq__(self, other)


def test_ids_given_twice_are_found_in_one_pass():
    ids = [CountedId(f"L{row}") for row in range(500)]
    ids += [CountedId("L400"), CountedId("L499"), CountedId("L400")]
    CountedId.compared = 0
    with pytest.raises(DataError, match=r"^3 label ids are given twice, such as 'L400'"):
        check_ids(ids)
    assert CountedId.compared < len(ids)
