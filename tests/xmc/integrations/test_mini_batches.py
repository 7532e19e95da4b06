"""Invariants: a mini-batch changes neither embeddings nor gradients; modules that write into features do no harm."""

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses import has_static_embedding_input
from st_models import static_model
from torch import nn

from xmc.errors import ConfigError
from xmc.integrations.mini_batches import embed, slices


class Untidy(nn.Module):
    """Weights, dropout, and the habit of writing into its features, as pooling without the prompt does."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 4, dtype=torch.float64)
        self.dropout = nn.Dropout(0.5)
        self.seen = []

    def forward(self, features):
        self.seen.append(len(features["input_ids"]))
        tokens = self.dropout(self.table(features["input_ids"])) * features["attention_mask"].double().unsqueeze(2)
        features["attention_mask"][:, 0] = 0
        features["token_embeddings"] = tokens
        features["sentence_embedding"] = tokens.sum(dim=1)
        return features


def random_features(texts=7):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(11, (texts, 5), generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones(texts, 5, dtype=torch.long),
        "prompt_length": 1,
        "task": "query",
    }


def gradient(model, parts, *, recompute):
    torch.manual_seed(3)
    model.zero_grad()
    embeddings_ND = embed(model, parts, recompute=recompute)
    torch.manual_seed(99)  # the second pass must not depend on where the random numbers stand by then
    (embeddings_ND * torch.arange(1.0, 1 + embeddings_ND.numel()).view_as(embeddings_ND)).sum().backward()
    return embeddings_ND.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_recomputed_parts_have_the_gradient_of_the_same_parts_kept(size):
    torch.manual_seed(0)
    model = Untidy()
    expected = gradient(model, slices(random_features(), size), recompute=False)
    parts = slices(random_features(), size)
    got = gradient(model, parts, recompute=True)
    assert torch.equal(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1], rtol=1e-12, atol=1e-12)
    sizes = [min(size, 7 - start) for start in range(0, 7, size)]
    assert model.seen[len(sizes) : 2 * len(sizes)] == sizes and sorted(model.seen[2 * len(sizes) :]) == sorted(sizes)
    assert not any("token_embeddings" in part for part in parts)
    assert all(bool(part["attention_mask"].all()) for part in parts)


def test_without_gradients_nothing_is_done_twice():
    model = Untidy()
    with torch.no_grad():
        embed(model, slices(random_features(), 3), recompute=True)
    assert model.seen == [3, 3, 1]


def test_what_is_not_one_row_a_text_goes_to_every_part():
    parts = slices(random_features(), 3)
    assert [(part["prompt_length"], part["task"], len(part["input_ids"])) for part in parts] == [
        (1, "query", 3),
        (1, "query", 3),
        (1, "query", 1),
    ]


def test_static_features_cannot_be_cut():
    model = static_model(dimension=4)
    assert has_static_embedding_input(model)
    with pytest.raises(ConfigError, match="padded to a matrix; this one has input_ids, offsets"):
        slices(model.preprocess(["a", "b"]), 1)


@pytest.mark.pretrained
@pytest.mark.slow
def test_minilm_has_the_gradient_of_one_pass(minilm):
    model = SentenceTransformer(str(minilm), device="cpu").eval()
    texts = ["heart attack", "a broken left wrist and a long story of how that came about", "flu", "burn", "cough"]
    whole = gradient(model, [model.preprocess(texts)], recompute=False)
    parts = gradient(model, slices(model.preprocess(texts), 2), recompute=True)
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-4, atol=1e-6)
    largest = max(float(each.abs().max()) for each in whole[1])
    for got, expected in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(got / largest, expected / largest, rtol=1e-3, atol=1e-6)
