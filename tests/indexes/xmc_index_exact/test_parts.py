"""Invariants: parts answer as the whole, to the bit, side by side; callers and later threads keep torch's settings."""

import multiprocessing
import os
import threading

import numpy as np
import pytest
import torch

from xmc.values import Hits
from xmc_index_exact.exact import Exact
from xmc_index_exact.parts import FEWEST, search_in_parts


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def hits_of(part_QD, *, each=1):
    """Each query finds as many labels as its first number says, and the number is their row."""
    counts_Q = part_QD[:, 0].long().numpy() * each
    offsets = np.concatenate(([0], np.cumsum(counts_Q)))
    rows = np.repeat(part_QD[:, 0].long().numpy(), counts_Q)
    return Hits(offsets, rows, rows.astype(np.float32))


@pytest.mark.parametrize("first_pass", ["float32", "int8"])
def test_parts_answer_as_the_whole(first_pass, two_threads):
    generator = torch.Generator().manual_seed(0)
    labels_LD = torch.randint(-2, 3, (4_000, 64), generator=generator).float()
    queries_QD = torch.randint(-2, 3, (2 * FEWEST + 5, 64), generator=generator).float()
    queries_QD[[3, FEWEST + 9]] = 0.0
    index = Exact(first_pass=first_pass).build([labels_LD], similarity="dot", device="cpu")
    rows = np.arange(0, 4_000, 3)
    in_parts = index.search(queries_QD, 7), index.search_among(queries_QD, 7, rows)
    torch.set_num_threads(1)
    for found, whole in zip(
        in_parts, (index.search(queries_QD, 7), index.search_among(queries_QD, 7, rows)), strict=True
    ):
        assert all(np.array_equal(one, other) for one, other in zip(found, whole, strict=True))


def test_lists_of_unlike_lengths_are_joined_in_order(two_threads):
    queries_QD = torch.arange(2.0 * FEWEST + 1)[:, None] % 4
    found, whole = search_in_parts(hits_of, queries_QD), hits_of(queries_QD)
    assert found.offsets.tolist() == whole.offsets.tolist() and found.label_rows.tolist() == whole.label_rows.tolist()


def test_parts_are_searched_at_the_same_time_by_one_thread_each(two_threads):
    meet, seen = threading.Barrier(2), []

    def search(part_QD):
        meet.wait(timeout=20)  # nobody comes where the parts are taken one after the other
        seen.append((threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled(), len(part_QD)))
        return hits_of(part_QD)

    search_in_parts(search, torch.ones(2 * FEWEST, 1))
    assert len({ident for ident, *_ in seen} - {threading.get_ident()}) == 2
    assert [about for _, *about in seen] == [[1, False, FEWEST]] * 2
    of_another = []
    other = threading.Thread(target=lambda: of_another.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert torch.get_num_threads() == 2 and of_another == [2]


@pytest.mark.parametrize("queries", [0, 1, 2 * FEWEST - 1])
def test_few_queries_stay_in_the_thread_that_asks(queries, two_threads):
    idents = []
    search_in_parts(lambda part_QD: idents.append(threading.get_ident()) or hits_of(part_QD), torch.ones(queries, 1))
    assert idents == [threading.get_ident()]


def test_what_a_part_raises_is_raised(two_threads):
    def search(part_QD):
        if part_QD[0, 0] > 1:
            raise ValueError("of the second part")
        return hits_of(part_QD)

    queries_QD = torch.ones(2 * FEWEST, 1)
    queries_QD[FEWEST:] = 2
    with pytest.raises(ValueError, match="of the second part"):
        search_in_parts(search, queries_QD)
    assert len(search_in_parts(hits_of, queries_QD)) == 2 * FEWEST


def test_a_forked_process_has_threads_of_its_own(two_threads):
    search_in_parts(hits_of, torch.ones(2 * FEWEST, 1))
    child = multiprocessing.get_context("fork").Process(
        target=lambda: os._exit(len(search_in_parts(hits_of, torch.ones(2 * FEWEST, 1))) // 2)
    )
    child.start()
    child.join(timeout=20)
    assert child.exitcode == FEWEST
