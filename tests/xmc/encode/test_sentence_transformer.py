"""Invariants: the vectors are those of sentence-transformers itself, before and after saving; nothing is fetched."""

import json
import shutil

import numpy as np
import pytest
import torch

from xmc.config import build_options
from xmc.encode.encoder import Encoder, EncoderOptions, embed_texts
from xmc.encode.sentence_transformer import INFERENCE_BATCH, SentenceTransformerOptions, names_a_folder
from xmc.errors import ConfigError

TEXTS = ["heart attack", "broken left wrist", "a much longer text about a broken wrist and more"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small real sentence-transformers folder, made without a download: mean of token vectors, a layer on top."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding

    from xmc.encode.tokenizer import train_tokenizer

    torch.manual_seed(0)
    tokens = StaticEmbedding(train_tokenizer(TEXTS, vocabulary_size=500), embedding_dim=6)
    path = tmp_path_factory.mktemp("model") / "small"
    modules = [tokens, Dense(6, 4)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(path), create_model_card=False)
    return path


def open_encoder(folder, **options):
    encoder = SentenceTransformerOptions(model=str(folder), **options).build([], [], seed=0)
    encoder.module.eval()
    return encoder


def reference(folder, texts, *, method="encode", **options):
    from sentence_transformers import SentenceTransformer

    return getattr(SentenceTransformer(str(folder), device="cpu"), method)(texts, **options)


@pytest.mark.parametrize(("written", "taken"), [("dot", "dot"), ("cosine", "cosine"), ("euclidean", "cosine")])
def test_without_one_of_its_own_it_has_the_similarity_of_the_folder(folder, tmp_path, written, taken):
    copy = shutil.copytree(folder, tmp_path / "model")
    about = copy / "config_sentence_transformers.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "similarity_fn_name": written}))
    assert open_encoder(copy).similarity == taken


def check_vectors_and_saved_folder(folder, tmp_path, similarity):
    encoder = open_encoder(folder, similarity=similarity)
    assert isinstance(encoder, Encoder) and isinstance(SentenceTransformerOptions(), EncoderOptions)
    assert encoder.similarity == (similarity or "cosine")
    got_ND = embed_texts(encoder, TEXTS, "query")
    expected_ND = reference(folder, TEXTS, normalize_embeddings=encoder.similarity == "cosine")
    np.testing.assert_allclose(got_ND, expected_ND, rtol=1e-4, atol=1e-5)
    encoder.save(tmp_path / "saved")
    for method in ("encode", "encode_query", "encode_document"):
        np.testing.assert_allclose(reference(tmp_path / "saved", TEXTS, method=method), got_ND, rtol=1e-4, atol=1e-5)
    loaded = SentenceTransformerOptions(similarity=similarity).load(tmp_path / "saved")
    loaded.module.eval()
    assert loaded.similarity == encoder.similarity
    torch.testing.assert_close(embed_texts(loaded, TEXTS, "label"), got_ND, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("similarity", ["", "cosine", "dot"])
def test_vectors_are_the_models_own_before_and_after_saving(folder, tmp_path, similarity):
    check_vectors_and_saved_folder(folder, tmp_path, similarity)


@pytest.mark.pretrained
@pytest.mark.parametrize("similarity", ["", "dot"])
def test_vectors_of_minilm_are_its_own_before_and_after_saving(minilm, tmp_path, similarity):
    check_vectors_and_saved_folder(minilm, tmp_path, similarity)


def test_saved_for_training_it_is_the_same_to_the_bit(folder, tmp_path):
    encoder = open_encoder(folder, similarity="dot")
    encoder.save_training(tmp_path / "saved")
    loaded = SentenceTransformerOptions(similarity="dot").load_training(tmp_path / "saved")
    old, new = encoder.module.state_dict(), loaded.module.state_dict()
    assert old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)
    loaded.module.eval()
    assert torch.equal(embed_texts(encoder, TEXTS, "query"), embed_texts(loaded, TEXTS, "query"))


def test_prompts_stand_before_the_texts_and_travel_with_the_folder(folder, tmp_path):
    encoder = open_encoder(folder, query_prompt="heart ", label_prompt="wrist ")
    queries_ND, labels_ND = (embed_texts(encoder, TEXTS, role) for role in ("query", "label"))
    plain = open_encoder(folder)
    torch.testing.assert_close(queries_ND, embed_texts(plain, ["heart " + text for text in TEXTS], "query"))
    torch.testing.assert_close(labels_ND, embed_texts(plain, ["wrist " + text for text in TEXTS], "query"))
    encoder.save(tmp_path / "saved")
    for method, expected_ND in (("encode_query", queries_ND), ("encode_document", labels_ND)):
        got_ND = reference(tmp_path / "saved", TEXTS, method=method)
        np.testing.assert_allclose(got_ND, expected_ND, rtol=1e-4, atol=1e-5)


def test_features_are_the_texts_in_any_order(folder):
    encoder = open_encoder(folder)
    features = encoder.prepare(TEXTS, "query")
    assert len(features) == 3 and features.take(np.array([2, 0])).texts == [TEXTS[2], TEXTS[0]]
    whole_ND = embed_texts(encoder, TEXTS, "query")
    torch.testing.assert_close(embed_texts(encoder, TEXTS, "query", chunk_size=1), whole_ND)


def test_thousands_of_texts_go_through_the_layers_in_small_batches(folder, monkeypatch):
    encoder = SentenceTransformerOptions(model=str(folder)).build([], [], seed=0)
    texts = ["tram " * (1 + number % 7) + str(number) for number in range(3 * INFERENCE_BATCH["cpu"] + 5)]
    features, sizes = encoder.prepare(texts, "label"), []
    whole_ND = encoder._embed(features, "label").detach()
    inner = type(encoder)._embed
    monkeypatch.setattr(
        type(encoder), "_embed", lambda self, some, role: sizes.append(len(some)) or inner(self, some, role)
    )
    encoder.module.eval()
    with torch.inference_mode():
        torch.testing.assert_close(encoder.embed(features, "label"), whole_ND)
    assert sum(sizes) == len(texts) and max(sizes) == INFERENCE_BATCH["cpu"]
    sizes.clear()
    encoder.module.train()
    with torch.no_grad():  # as the first pass of gradient caching, whose dropout is drawn again
        encoder.embed(features, "label")
    assert sizes == [len(texts)]


def test_it_learns(folder):
    encoder = open_encoder(folder)
    encoder.module.train()
    encoder.embed(encoder.prepare(TEXTS, "label"), "label")[:, 0].sum().backward()
    gradients = [parameter.grad for parameter in encoder.module.parameters()]
    assert gradients and all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.pretrained
def test_max_tokens_cuts_texts(minilm):
    short = open_encoder(minilm, max_tokens=4)
    torch.testing.assert_close(
        embed_texts(short, ["broken left wrist and arm"], "query"),
        embed_texts(short, ["broken left stick"], "query"),
    )
    whole = open_encoder(minilm)
    one_ND, other_ND = (embed_texts(whole, [text], "query") for text in ("broken left wrist", "broken left stick"))
    assert (one_ND - other_ND).abs().max() > 0.01


def test_a_model_that_cannot_cut_texts_there_is_refused(folder):
    with pytest.raises(ConfigError, match=r"max_tokens = 4: the model .* sets no limit.*encoder\.max_tokens=0"):
        open_encoder(folder, max_tokens=4)


@pytest.mark.pretrained
def test_more_tokens_than_a_model_can_read_are_refused(minilm):
    assert open_encoder(minilm, max_tokens=512).model.max_seq_length == 512
    with pytest.raises(ConfigError, match=r"max_tokens = 513: the model .* fails at .*its own limit is 256 tokens"):
        open_encoder(minilm, max_tokens=513)


def test_a_folder_beside_others_is_no_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not names_a_folder("models/minilm")
    (tmp_path / "models").mkdir()
    assert names_a_folder("models/minilm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"\[encoder\] model is empty\. Set encoder\.model=PATH"),
        ({"model": "~no-such-user/x"}, r"~no-such-user/x is not a .* \(there is no folder .*/~no-such-user/x\)"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all is not a sentence-transformers folder"),
        ({"model": "models/no/minilm"}, r"models/no/minilm is not .* \(there is no folder .*/models/no/minilm\)"),
        (
            {"model": "minilm"},
            r"minilm is not .* \(there is no folder .*/minilm\).* or a name of the hub with its owner",
        ),
        ({"model": "."}, r"it has no modules\.json"),
    ],
)
def test_a_model_that_is_not_there_is_a_configuration_error(options, message):
    with pytest.raises(ConfigError, match=message):
        SentenceTransformerOptions(**options).build([], [], seed=0)


def test_a_damaged_model_folder_is_a_configuration_error(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"not this")
    with pytest.raises(ConfigError, match="cannot open"):
        open_encoder(tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot open"):
        open_encoder(tmp_path / "model")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"similarity": "euclid"}, "similarity must be 'dot', 'cosine' or empty, got 'euclid'"),
        ({"max_tokens": -1}, "max_tokens must be >= 0, got -1"),
        ({"modle": "x"}, "Did you mean 'model'"),
    ],
)
def test_options_that_cannot_work_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(SentenceTransformerOptions, values, section="encoder")
