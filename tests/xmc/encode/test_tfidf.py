"""Invariants: an embedding is the weighted sum over the bag; what is saved is the same encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xmc.config import build_options
from xmc.data.dataset import load_dataset
from xmc.encode.encoder import Encoder, EncoderOptions, embed_texts
from xmc.encode.tfidf import TfidfOptions
from xmc.errors import ArtifactError, ConfigError

OPTIONS = TfidfOptions(dimension=6)
QUERIES = ["tender tram vehicle", "an ancient lemon lemon", "", "zebra"]
LABELS = ["tender tram vehicle", "ancient lemon fruit"]


@pytest.fixture(scope="module", params=["dot", "cosine"])
def encoder(request):
    data = load_dataset("tiny")
    encoder = replace(OPTIONS, similarity=request.param).build(data.train.texts[:200], data.labels.texts, seed=2)
    with torch.no_grad():
        encoder.module["query"].normal_(generator=torch.Generator().manual_seed(1))  # it starts at 0
    encoder.module.eval()
    return encoder


@pytest.mark.parametrize("role", ["query", "label"])
def test_an_embedding_is_the_weighted_sum_of_rows(encoder, role):
    assert isinstance(encoder, Encoder) and isinstance(OPTIONS, EncoderOptions)
    texts = QUERIES if role == "query" else LABELS
    bags, table = encoder.bags[role].transform(texts), encoder.module[role].detach().double().numpy()
    got_ND = embed_texts(encoder, texts, role).numpy()
    for row in range(len(texts)):
        total = np.zeros(6)
        for position in range(bags.offsets[row], bags.offsets[row + 1]):
            total += float(bags.weights[position]) * table[bags.ids[position]]
        length = np.sqrt((total**2).sum())
        expected_D = total / length if encoder.similarity == "cosine" and length else total
        np.testing.assert_allclose(got_ND[row], expected_D, rtol=1e-4, atol=1e-5)


def test_queries_start_at_zero_and_labels_do_not():
    fresh = OPTIONS.build(["red fish", "red sea", "red dog"], LABELS, seed=0)
    assert (embed_texts(fresh, ["red"], "query") == 0).all()
    assert (embed_texts(fresh, LABELS, "label") != 0).any()
    (own,) = fresh.label_parameters()
    assert own is fresh.module["label"]


def test_queries_start_apart_where_asked_and_labels_stay_as_they_were():
    texts = [f"word{row % 40} red fish" for row in range(200)]
    plain, spread = (
        replace(OPTIONS, dimension=64, query_scale=scale).build(texts, LABELS, seed=0) for scale in (0.0, 0.02)
    )
    assert torch.equal(plain.module["label"], spread.module["label"])
    assert spread.module["query"].std().item() == pytest.approx(0.02, rel=0.1)


def test_saved_it_is_the_same_encoder(encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder.save(tmp_path / "saved")
    options = replace(OPTIONS, similarity=encoder.similarity)
    loaded = options.load(tmp_path / "saved")
    for role in ("query", "label"):
        assert torch.equal(embed_texts(loaded, QUERIES, role), embed_texts(encoder, QUERIES, role))
    model = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    got_ND = model.encode_query(QUERIES)
    np.testing.assert_allclose(got_ND, embed_texts(encoder, QUERIES, "query"), rtol=1e-4, atol=1e-5)
    got_ND = model.encode_document(LABELS)
    np.testing.assert_allclose(got_ND, embed_texts(encoder, LABELS, "label"), rtol=1e-4, atol=1e-5)


def test_saved_for_training_it_is_the_same_to_the_bit(encoder, tmp_path):
    encoder.save_training(tmp_path)
    loaded = replace(OPTIONS, similarity=encoder.similarity).load_training(tmp_path)
    old, new = encoder.module.state_dict(), loaded.module.state_dict()
    assert list(old) == list(new) and all(torch.equal(old[name], new[name]) for name in old)


def test_another_kind_of_encoder_is_not_loaded(tmp_path):
    (tmp_path / "xmc_encoder.json").write_text('{"encoder": "static"}')
    with pytest.raises(ArtifactError, match="holds the encoder 'static', expected 'tfidf'"):
        OPTIONS.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dimension": 0}, "dimension must be >= 1"),
        ({"minimum_count": 0}, "minimum_count must be >= 1"),
        ({"opening": -1}, "opening must be >= 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"label_scale": 0.0}, "label_scale must be a finite number > 0"),
        ({"query_scale": -0.1}, "query_scale must be"),
        ({"openings": 3}, "Did you mean 'opening'"),
    ],
)
def test_options_that_cannot_work_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(TfidfOptions, values, section="encoder")
