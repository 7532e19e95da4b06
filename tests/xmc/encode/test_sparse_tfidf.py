"""Invariants: the definition, by loops; texts one by one as together; what is saved is what is loaded."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from xmc.encode.csr import concatenate_rows
from xmc.encode.encoder import Encoder, EncoderOptions, embed_chunks, embed_texts
from xmc.encode.sparse_tfidf import SparseTfidfOptions
from xmc.errors import ArtifactError

TEXTS = ["the red fish", "the blue fish swims", "a red red sea", "The whale", "fish, fish and fish"]


def weights_by_loops(text, corpus, minimum_count):
    """Word -> (1 + ln tf) · ln((N + 1) / (df + 1)), scaled to length 1."""
    words = [document.lower().replace(",", "").split() for document in corpus]
    frequency = Counter(word for document in words for word in set(document))
    raw = {
        word: (1 + math.log(count)) * math.log((len(corpus) + 1) / (frequency[word] + 1))
        for word, count in Counter(text.lower().replace(",", "").split()).items()
        if frequency[word] >= minimum_count
    }
    length = math.sqrt(sum(value * value for value in raw.values())) or 1.0
    return {word: value / length for word, value in raw.items()}


@pytest.mark.parametrize("minimum_count", [1, 2])
def test_equal_to_the_definition_with_a_constant_at_the_end(minimum_count):
    encoder = SparseTfidfOptions(minimum_count=minimum_count).build(TEXTS, [], seed=0)
    assert isinstance(SparseTfidfOptions(), EncoderOptions)
    assert isinstance(encoder, Encoder)
    vectors = encoder.embed(encoder.prepare(TEXTS, "query"), "query")
    assert vectors.layout == torch.sparse_csr
    assert vectors.shape == (len(TEXTS), encoder.dimension)
    (vocabulary,) = encoder.bags.vocabularies
    for text, row in zip(TEXTS, vectors.to_dense().numpy(), strict=True):
        expected = np.zeros(encoder.dimension)
        for word, weight in weights_by_loops(text, TEXTS, minimum_count).items():
            expected[vocabulary[word]] = weight
        expected[-1] = 1.0
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_chunks_put_together_are_the_whole():
    encoder = SparseTfidfOptions(minimum_count=1, opening=2, pairs=True).build(TEXTS, [], seed=0)
    features = encoder.prepare(TEXTS, "query")
    parts = embed_chunks(encoder, features, "query", chunk_size=2)
    together = concatenate_rows(parts, dimension=encoder.dimension)
    assert together.to_dense().tolist() == encoder.embed(features, "query").to_dense().tolist()
    assert embed_texts(encoder, TEXTS, "query", chunk_size=3).to_dense().tolist() == together.to_dense().tolist()
    assert concatenate_rows([], dimension=3).shape == (0, 3)
    assert concatenate_rows([torch.eye(2), torch.eye(2)], dimension=2).shape == (4, 2)


@pytest.mark.parametrize("method", ["save", "save_training"])
def test_saved_and_loaded(tmp_path, method):
    options = SparseTfidfOptions(minimum_count=1, opening=2)
    encoder = options.build(TEXTS, [], seed=0)
    getattr(encoder, method)(tmp_path)
    loaded = options.load(tmp_path) if method == "save" else options.load_training(tmp_path)
    before, after = (one.embed(one.prepare(TEXTS, "query"), "query").to_dense() for one in (encoder, loaded))
    assert before.tolist() == after.tolist()
    assert loaded.label_parameters() == []
    assert list(loaded.module.parameters()) == []


def test_another_encoder_and_bad_options_are_refused(tmp_path):
    (tmp_path / "xmc_encoder.json").write_text('{"encoder": "static"}')
    with pytest.raises(ArtifactError, match="'static'"):
        SparseTfidfOptions().load(tmp_path)
    for wrong in ({"minimum_count": 0}, {"opening": -1}):
        with pytest.raises(ValueError, match="got"):
            SparseTfidfOptions(**wrong)
