"""Invariants: gradients sent back chunk by chunk are those of the whole graph, dropout included; random numbers go on
as if nothing had happened."""

from dataclasses import replace

import pytest
import torch
from train_cases import LetterEncoder, head_context, random_texts

from xmc.encode.encoder import chunks
from xmc.encode.mixture import MixtureOfExperts, MixtureOptions
from xmc.train.distributed import Ranks
from xmc.train.dual_encoder import TextLabels
from xmc.train.gradient_cache import CachedEmbeddings, WholeGraphEmbeddings, embed_with_gradient
from xmc.train.options import TrainOptions


def whole_graph_gradients(encoder, features, upstream_ND, chunk_size):
    """One graph over all chunks, embedded in the same order and so with the same dropout."""
    parts = [encoder.embed(features.take(rows), "label") for rows in chunks(len(features), chunk_size)]
    embeddings_ND = torch.cat(parts)
    embeddings_ND.backward(upstream_ND)
    return embeddings_ND.detach(), take_gradients(encoder)


def take_gradients(encoder):
    gradients = {name: p.grad for name, p in encoder.module.named_parameters() if p.grad is not None}
    encoder.module.zero_grad(set_to_none=True)
    return gradients


def check_equal_to_whole_graph(encoder, features, chunk_size, tolerance):
    upstream_ND = torch.randn(len(features), encoder.dimension, dtype=next(encoder.module.parameters()).dtype)
    torch.manual_seed(5)
    expected_ND, expected = whole_graph_gradients(encoder, features, upstream_ND, chunk_size)
    after = torch.rand(3)
    torch.manual_seed(5)
    cached = CachedEmbeddings(encoder, features, "label", chunk_size=chunk_size)
    assert torch.equal(cached.embeddings_ND, expected_ND) and not cached.embeddings_ND.requires_grad
    torch.rand(1000)  # what the queries and the loss may draw in between
    torch.manual_seed(99)
    cached.backward(upstream_ND)
    going_on = torch.rand(3)
    got = take_gradients(encoder)
    assert got.keys() == expected.keys() and expected
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=tolerance, atol=tolerance)
    torch.manual_seed(99)
    assert torch.equal(going_on, torch.rand(3)) and not torch.equal(going_on, after)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_equals_the_whole_graph(dropout, chunk_size):
    encoder = LetterEncoder(dropout=dropout)
    encoder.module.train()
    check_equal_to_whole_graph(encoder, encoder.prepare(random_texts(10, 0), "label"), chunk_size, 1e-12)


def test_dropout_that_was_not_replayed_would_be_seen():
    encoder = LetterEncoder(dropout=0.5)
    encoder.module.train()
    features, upstream_ND = encoder.prepare(random_texts(10, 0), "label"), torch.ones(10, 4, dtype=torch.float64)
    one, other = (whole_graph_gradients(encoder, features, upstream_ND, 3)[1] for _ in range(2))
    assert any((one[name] - other[name]).abs().max() > 1e-3 for name in one)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_equals_the_whole_graph_on_a_gpu():
    class OnGpu(LetterEncoder):
        def embed(self, features, role):
            return self.module[role](torch.tensor(features, dtype=self.dtype, device="cuda"))

    encoder = OnGpu(dropout=0.5)
    encoder.module.train().to("cuda")
    features = encoder.prepare(random_texts(10, 0), "label")
    upstream_ND = torch.randn(10, 4, dtype=torch.float64, device="cuda")
    torch.manual_seed(5)
    expected_ND, expected = whole_graph_gradients(encoder, features, upstream_ND, 3)
    torch.manual_seed(5)
    cached = CachedEmbeddings(encoder, features, "label", chunk_size=3)
    assert torch.equal(cached.embeddings_ND, expected_ND)
    cached.backward(upstream_ND)
    got = take_gradients(encoder)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name])


@pytest.mark.pretrained
def test_equals_the_whole_graph_of_minilm_with_dropout(minilm):
    from xmc.encode.sentence_transformer import SentenceTransformerOptions

    encoder = SentenceTransformerOptions(model=str(minilm)).build([], [], seed=0)
    encoder.module.train()
    rates = [module.p for module in encoder.module.modules() if isinstance(module, torch.nn.Dropout)]
    assert max(rates) > 0
    features = encoder.prepare(["heart attack", "broken left wrist", "a sore throat", "flu", "burn"], "label")
    check_equal_to_whole_graph(encoder, features, 2, 1e-6)


def test_one_graph_where_that_is_cheap_or_small_else_chunks():
    features = LetterEncoder().prepare(random_texts(5, 1), "label")
    for whole, size, kind in (
        (True, 2, WholeGraphEmbeddings),
        (False, 5, WholeGraphEmbeddings),
        (False, 4, CachedEmbeddings),
    ):
        encoder = LetterEncoder(whole_label_graph=whole)
        embedded = embed_with_gradient(encoder, features, "label", chunk_size=size)
        assert type(embedded) is kind
        assert embedded.embeddings_ND.shape == (5, 4) and not embedded.embeddings_ND.requires_grad


def balance_alone(layer, rows_ND):
    """The gradients of the layer's balance term over these rows, which no loss asks for."""
    layer(rows_ND).backward(torch.zeros(len(rows_ND), rows_ND.shape[1], dtype=rows_ND.dtype))
    found = [parameter.grad.clone() for parameter in layer.gate.parameters()]
    layer.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("passes", [1, 6])
@pytest.mark.parametrize("whole_label_graph", [True, False])
def test_a_term_of_a_whole_pass_counts_by_the_passes_share_of_the_texts(whole_label_graph, passes):
    """Chunks of 4, 4 and 2 texts, on as many processes or in as many batches of a step as there are passes."""
    encoder = LetterEncoder(whole_label_graph=whole_label_graph)
    layer = MixtureOfExperts(8, MixtureOptions(experts=4, balance=0.5)).double()
    encoder.module["label"] = layer
    features = encoder.prepare(random_texts(10, 3), "label")
    rows_ND = torch.tensor(features, dtype=torch.float64)
    parts = [rows_ND] if whole_label_graph else list(rows_ND.split(4))
    found = [balance_alone(layer, part) for part in parts]
    expected = [
        sum(gradient * len(part) / 10 / passes for gradient, part in zip(gradients, parts, strict=True))
        for gradients in zip(*found, strict=True)
    ]
    options = TrainOptions(label_scope="sampled", label_chunk=4, accumulate=1 if passes == 1 else 3)
    context = head_context(encoder, options, loss=None, labels=random_texts(10, 3))
    labels = TextLabels.of(replace(context, ranks=None if passes == 1 else Ranks(1, 2)))
    labels.vectors(None).backward(torch.zeros(10, 8, dtype=torch.float64))
    for parameter, gradient in zip(layer.gate.parameters(), expected, strict=True):
        assert gradient.abs().max() > 1e-6
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-12)
