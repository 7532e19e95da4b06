"""Invariants: the folder opens in sentence-transformers with the same vectors; training goes on; word order counts."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from xmc.encode.lstm import LstmOptions

TEXTS = ["a fast car", "", "Red, fish!", "a car fast", "unknownword " * 9]
OPTIONS = LstmOptions(dimension=12, token_dimension=6, hidden=5, vocabulary_size=200, max_tokens=7)


@pytest.fixture(scope="module")
def encoder():
    return OPTIONS.build(["a fast car", "the red fish is here"], ["boat"], seed=0)


def vectors(encoder):
    with torch.no_grad():
        return encoder.embed(encoder.prepare(TEXTS, "query"), "query")


def test_its_weights_are_those_of_its_seed(encoder):
    torch.manual_seed(7)
    again, other = (OPTIONS.build(["a fast car", "the red fish is here"], ["boat"], seed=seed) for seed in (0, 1))
    assert torch.equal(vectors(again), vectors(encoder))
    assert not torch.equal(vectors(other), vectors(encoder))


def test_saved_it_is_a_sentence_transformers_model(encoder, tmp_path):
    encoder.save(tmp_path)
    expected = vectors(encoder)
    found = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(vectors(OPTIONS.load(tmp_path)), expected, rtol=0, atol=0)


def test_saved_training_has_every_weight_to_be_trained_further(encoder, tmp_path):
    encoder.save_training(tmp_path)
    loaded = OPTIONS.load_training(tmp_path)
    assert torch.equal(vectors(loaded), vectors(encoder))
    assert all(parameter.requires_grad for parameter in loaded.module.parameters())


def test_the_order_of_words_counts_and_the_batch_does_not(encoder):
    found = vectors(encoder)
    assert not torch.allclose(found[0], found[3], atol=1e-4)
    with torch.no_grad():
        alone = torch.cat([encoder.embed(encoder.prepare([text], "label"), "label") for text in TEXTS])
    torch.testing.assert_close(alone, found, rtol=1e-5, atol=1e-6)


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="hidden must be >= 1, got 0"):
        LstmOptions(hidden=0)
    with pytest.raises(ValueError, match="vocabulary_size must be >= 100"):
        LstmOptions(vocabulary_size=5)
