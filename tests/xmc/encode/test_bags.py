"""Invariants: a bag is the relative frequency of each token; the sum over a bag is the mean of its token vectors."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode import bag_layout as bag_layout_module
from xmc.encode import bags as bags_module
from xmc.encode.bag_layout import BagLayout
from xmc.encode.bags import Bags, bag_embeddings, concatenate, sum_in_pieces, tokenise

WORDS = {"a": 0, "b": 3, "c": 7, "d": 70_000}
texts = st.lists(st.text("abcd", max_size=6), max_size=8)


def encode_letters(batch):
    return [np.array([WORDS[letter] for letter in text], dtype=np.int64) for text in batch]


def as_dicts(bags):
    return [
        dict(zip(bags.ids[start:stop].tolist(), bags.weights[start:stop].tolist(), strict=True))
        for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True)
    ]


def oracle(batch):
    """Share of each token, text by text."""
    return [{WORDS[letter]: n / len(text) for letter, n in sorted(Counter(text).items())} for text in batch]


@given(texts)
def test_a_bag_holds_each_token_once_ascending_with_its_share(batch):
    bags = tokenise(batch, encode_letters)
    assert len(bags) == len(batch)
    assert (bags.offsets.dtype, bags.ids.dtype, bags.weights.dtype) == (np.int64, np.int32, np.float32)
    for got, expected in zip(as_dicts(bags), oracle(batch), strict=True):
        assert list(got) == list(expected)
        assert list(got.values()) == pytest.approx(list(expected.values()), rel=1e-6)


@given(texts, st.data())
def test_take_gives_the_bags_of_those_rows_in_that_order(batch, data):
    rows = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=6)) if batch else []
    taken = tokenise(batch, encode_letters).take(np.array(rows, dtype=np.int64))
    assert as_dicts(taken) == as_dicts(tokenise([batch[row] for row in rows], encode_letters))


@given(texts, texts)
def test_concatenate_is_the_bags_of_both(first, second):
    joined = concatenate([tokenise(first, encode_letters), tokenise(second, encode_letters)])
    assert as_dicts(joined) == as_dicts(tokenise([*first, *second], encode_letters))


def test_texts_are_tokenised_in_slices_without_a_seam(monkeypatch):
    batch = ["aab", "", "cd", "d", "abca"]
    whole = tokenise(batch, encode_letters)
    sizes = []
    monkeypatch.setattr(bags_module, "TEXTS_AT_ONCE", 2)
    sliced = tokenise(batch, lambda part: (sizes.append(len(part)), encode_letters(part))[1])
    assert sizes == [2, 2, 1]
    assert as_dicts(sliced) == as_dicts(whole)


@given(texts, st.integers(1, 5))
def test_embeddings_are_the_mean_of_token_vectors(batch, dimension):
    few = {"a": 0, "b": 1, "c": 2, "d": 3}
    bags = tokenise(batch, lambda part: [np.array([few[x] for x in text], dtype=np.int64) for text in part])
    table_TD = torch.arange(4.0 * dimension).reshape(4, dimension).cos()
    got_ND = bag_embeddings(bags, table_TD)
    assert got_ND.shape == (len(batch), dimension)
    for row, text in enumerate(batch):
        vectors = [table_TD[few[letter]] for letter in text]
        expected_D = sum(vectors) / len(vectors) if vectors else torch.zeros(dimension)
        torch.testing.assert_close(got_ND[row], expected_D, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_table_row_is_its_weight_in_all_bags():
    bags = tokenise(["aab", "b"], lambda part: [np.array([ord(x) - 97 for x in text]) for text in part])
    table_TD = torch.zeros(3, 2, requires_grad=True)
    bag_embeddings(bags, table_TD).sum().backward()
    torch.testing.assert_close(table_TD.grad, torch.tensor([[2 / 3, 2 / 3], [4 / 3, 4 / 3], [0, 0]]))


def test_dropout_leaves_out_about_that_share_of_entries_and_changes_no_weight_that_stays():
    bags = Bags(np.arange(10_001), np.zeros(10_000, np.int32), np.full(10_000, 0.25, np.float32))
    torch.manual_seed(0)
    values = bag_embeddings(bags, torch.ones(1, 1), dropout=0.3).flatten()
    assert set(values.tolist()) == {0.0, 0.25}
    assert (values == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    again = bag_embeddings(bags, torch.ones(1, 1), dropout=0.3).flatten()
    assert not torch.equal(values, again)
    assert (bags.weights == 0.25).all()


@given(st.lists(st.text("abcd", max_size=5), max_size=5))
def test_the_transposition_lists_for_each_row_the_texts_that_hold_it(batch):
    few = {"a": 0, "b": 1, "c": 4, "d": 9}
    bags = tokenise(batch, lambda part: [np.array([few[x] for x in text], dtype=np.int64) for text in part])
    transposition = bags.layout.transposition
    weights = transposition.reordered(torch.from_numpy(bags.weights)).numpy()
    assert np.array_equal(weights, bags.transposed_weights_on(torch.device("cpu")).numpy())
    rows, occurring = transposition.rows, transposition.occurring
    entries = {(row, text): weight for text, bag in enumerate(as_dicts(bags)) for row, weight in bag.items()}
    assert rows.tolist() == sorted({row for row, _ in entries})
    got = {
        (row, text): weight
        for row, bag in zip(rows.tolist(), as_dicts(Bags(occurring.offsets, occurring.ids, weights)), strict=True)
        for text, weight in bag.items()
    }
    assert got == entries
    layout = transposition.whole(12)
    whole = as_dicts(Bags(layout.offsets, layout.ids, weights))
    assert len(whole) == 12
    assert {(row, text): weight for row, bag in enumerate(whole) for text, weight in bag.items()} == entries


@given(st.lists(st.integers(0, 40), max_size=6), st.sampled_from([2, 3, 256]), st.booleans())
def test_pieces_of_long_bags_add_up_to_the_same(counts, longest, weighted):
    generator = np.random.default_rng(0)
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    layout = BagLayout(offsets, generator.integers(0, 9, offsets[-1]).astype(np.int32))
    weights = torch.from_numpy(generator.integers(1, 4, offsets[-1]).astype(np.float32)) if weighted else None
    table_TD = torch.from_numpy(generator.integers(-3, 4, (9, 5)).astype(np.float32))  # sums of these are exact
    expected_ND = bags_module._weighted_sum(layout, table_TD, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bag_layout_module, "LONGEST", longest)
        assert torch.equal(sum_in_pieces(layout, table_TD, weights), expected_ND)
        if layout.pieces:
            cut, joined = layout.pieces
            assert np.diff(cut.offsets).max() <= longest and len(joined.offsets) == len(counts) + 1


@given(st.lists(st.text("abcd", max_size=5), max_size=5), st.integers(0, 1000))
def test_the_row_gradient_is_the_dense_one_and_holds_only_rows_that_occur(batch, seed):
    few = {"a": 0, "b": 1, "c": 4, "d": 9}
    bags = tokenise(batch, lambda part: [np.array([few[x] for x in text], dtype=np.int64) for text in part])
    torch.manual_seed(seed)
    table_TD, upstream_ND = torch.randn(10, 3, requires_grad=True), torch.randn(len(batch), 3)
    gradients = []
    for row_gradient in (False, True):
        embeddings_ND = bag_embeddings(bags, table_TD, row_gradient=row_gradient)
        gradients += torch.autograd.grad(embeddings_ND, table_TD, upstream_ND)
    dense, sparse = gradients
    assert sparse.is_sparse and not dense.is_sparse
    torch.testing.assert_close(sparse.to_dense(), dense)
    assert sparse.coalesce().indices()[0].tolist() == sorted(set(bags.ids.tolist()))


@pytest.mark.parametrize("offsets", [[0], [0, 0, 0]])
@pytest.mark.parametrize("row_gradient", [False, True])
def test_empty_bags_have_a_gradient_of_zeros(offsets, row_gradient):
    bags = Bags(np.array(offsets, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    table_TD = torch.ones(4, 3, requires_grad=True)
    embeddings_ND = bag_embeddings(bags, table_TD, row_gradient=row_gradient)
    (gradient_TD,) = torch.autograd.grad(embeddings_ND, table_TD, torch.ones(len(bags), 3))
    assert torch.equal(gradient_TD.to_dense(), torch.zeros(4, 3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_long_bags_are_summed_and_what_was_copied_is_kept():
    generator = np.random.default_rng(0)
    offsets = np.array([0, 3, 3, 2000, 70_000], np.int64)
    ids = generator.integers(0, 50, 70_000).astype(np.int32)
    bags = Bags(offsets, ids, generator.integers(1, 4, 70_000).astype(np.float32))
    table_TD = torch.from_numpy(generator.integers(-3, 4, (60, 8)).astype(np.float32))  # sums of these are exact
    answers = []
    for device in ("cpu", "cuda"):
        leaf_TD = table_TD.to(device).requires_grad_()
        with torch.inference_mode():  # the first to ask for a copy
            bag_embeddings(bags, leaf_TD.detach())
        embeddings_ND = bag_embeddings(bags, leaf_TD)
        answers.append((embeddings_ND, *torch.autograd.grad(embeddings_ND, leaf_TD, torch.ones_like(embeddings_ND))))
    assert all(torch.equal(one, other.cpu()) for one, other in zip(*answers, strict=True))
    assert bags.layout.on(leaf_TD.device)[0] is bags.layout.on(leaf_TD.device)[0]
    assert bags.weights_on(leaf_TD.device) is bags.weights_on(leaf_TD.device)


@given(st.integers(0, 1000), st.booleans())
def test_what_is_dropped_has_no_gradient_and_the_rest_has_its_own(seed, row_gradient):
    check_dropped("cpu", seed, row_gradient=row_gradient)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("row_gradient", [False, True])
def test_on_a_gpu_what_is_dropped_is_drawn_there_and_the_same_under_a_seed(row_gradient):
    before = torch.get_rng_state()
    assert check_dropped("cuda", 3, row_gradient=row_gradient) == check_dropped("cuda", 3, row_gradient=row_gradient)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    bag_embeddings(
        Bags(np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.float32)), torch.ones(1, 1).cuda(), dropout=0.5
    )
    assert torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(before)


def check_dropped(device: str, seed: int, *, row_gradient: bool) -> list[float]:
    """One entry a bag, each of a row of its own: the gradient of a row is its weight, or nothing."""
    torch.manual_seed(seed)
    weights = np.arange(1, 41, dtype=np.float32)
    bags = Bags(np.arange(41), np.arange(40, dtype=np.int32)[::-1].copy(), weights)
    table_TD = torch.ones(40, 1, device=device, requires_grad=True)
    values_N = bag_embeddings(bags, table_TD, dropout=0.5, row_gradient=row_gradient).flatten()
    (gradient_TD,) = torch.autograd.grad(values_N.sum(), table_TD)
    assert set(values_N.tolist()) <= {0.0, *weights.tolist()} and 0 < (values_N == 0).sum() < 40
    assert gradient_TD.to_dense().flatten().flip(0).tolist() == values_N.tolist()
    return values_N.tolist()
