"""Invariants: an embedding is the mean of token vectors; what is saved is the same encoder, also for
sentence-transformers, and what is saved for training is the same to the bit."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.config import build_options
from xmc.data.dataset import load_dataset
from xmc.encode.bags import Bags
from xmc.encode.encoder import Encoder, EncoderOptions, embed_chunks, embed_texts
from xmc.encode.static import StaticEncoder, StaticOptions
from xmc.encode.tower import Tower
from xmc.errors import ArtifactError, ConfigError

OPTIONS = StaticOptions(dimension=8, vocabulary_size=1000)
QUERIES = ["tender tram vehicle", "the ancient lemon", "", "tramlemon zebra!"]
LABELS = ["tender tram vehicle", "ancient lemon fruit"]
VARIANTS = {
    "shared cosine": OPTIONS,
    "shared dot": replace(OPTIONS, similarity="dot"),
    "separate cosine": replace(OPTIONS, shared=False),
    "separate dot no n-grams": replace(OPTIONS, shared=False, similarity="dot", ngrams_longest=0),
}


@pytest.fixture(scope="module")
def corpus():
    data = load_dataset("tiny")
    return data.train.texts[:60], data.labels.texts


@pytest.fixture(scope="module", params=VARIANTS)
def encoder(request, corpus):
    return VARIANTS[request.param].build(*corpus, seed=3)


def naive_embedding(tower, text, similarity):
    """Token by token: its own row and its n-grams' rows, then the mean, then the length."""
    table = tower.table_FD.detach().double().numpy()
    total, count = np.zeros(table.shape[1]), 0
    for token in tower.tokenizer.encode(text, add_special_tokens=False).ids:
        count += 1
        if tower.expansion is None:
            total += table[token]
            continue
        bag = tower.expansion
        for position in range(bag.offsets[token], bag.offsets[token + 1]):
            total += float(bag.weights[position]) * table[bag.ids[position]]
    if count:
        total /= count
    length = math.sqrt((total**2).sum())
    return total / length if similarity == "cosine" and length else total


def test_it_has_the_interface(encoder):
    assert isinstance(encoder, Encoder) and isinstance(OPTIONS, EncoderOptions)
    assert encoder.dimension == 8 and encoder.whole_label_graph


@pytest.mark.parametrize("role", ["query", "label"])
def test_an_embedding_is_the_naive_mean_of_token_vectors(encoder, role):
    got_ND = embed_texts(encoder, QUERIES, role).numpy()
    expected_ND = [naive_embedding(encoder.towers[role], text, encoder.similarity) for text in QUERIES]
    np.testing.assert_allclose(got_ND, expected_ND, rtol=1e-4, atol=1e-5)
    assert (got_ND[2] == 0).all(), "the empty text is the zero vector"


def test_shared_towers_are_one_and_separate_ones_are_two(corpus):
    shared = OPTIONS.build(*corpus, seed=0)
    assert shared.towers["query"] is shared.towers["label"] and len(list(shared.module.parameters())) == 1
    assert torch.equal(embed_texts(shared, LABELS, "query"), embed_texts(shared, LABELS, "label"))
    separate = replace(OPTIONS, shared=False).build(*corpus, seed=0)
    assert len(list(separate.module.parameters())) == 2
    assert not torch.equal(embed_texts(separate, LABELS, "query"), embed_texts(separate, LABELS, "label"))


def test_the_same_corpus_and_seed_give_the_same_bits_and_another_seed_others(corpus):
    first, again, other = (OPTIONS.build(*corpus, seed=seed).towers["query"] for seed in (1, 1, 2))
    assert torch.equal(first.table_FD, again.table_FD) and not torch.equal(first.table_FD, other.table_FD)
    assert first.tokenizer.to_str() == again.tokenizer.to_str() == other.tokenizer.to_str()


@pytest.mark.parametrize("longest", [0, 4])
def test_an_untrained_row_is_a_random_direction_as_long_as_it_is_rare(longest):
    """By n-grams the weight is the row's length: of those of the words that hold it together."""
    texts = ["red redder fish", "red sea", "red, red fish sea", "redder sea"]
    tower = replace(OPTIONS, ngrams_longest=longest).build(texts, [], seed=3).towers["query"]
    ids = [set(tower.tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
    known = range(1, tower.tokenizer.get_vocab_size())
    frequency = {token: sum(token in of_text for of_text in ids) for token in known}
    idf = lambda count: math.log((1 + len(texts)) / (1 + min(count, len(texts)))) + 1  # noqa: E731
    generator = torch.Generator().manual_seed(3)
    directions = torch.randn(tower.table_FD.shape, generator=generator) / OPTIONS.dimension**0.5
    assert tower.tokenizer.id_to_token(0) == "[UNK]"
    if not longest:
        lengths = torch.tensor([0.0, *(idf(frequency[token]) for token in known)])
        torch.testing.assert_close(tower.table_FD.detach(), directions * lengths[:, None])
        return
    torch.testing.assert_close(tower.table_FD.detach(), directions)
    bag, shared = tower.expansion, {}
    entries = {token: bag.ids[bag.offsets[token] : bag.offsets[token + 1]].tolist() for token in known}
    for token, features in entries.items():
        for feature in features:
            shared[feature] = shared.get(feature, 0) + frequency[token]
    assert max(shared.values()) > len(texts)
    for token in known:
        weights = bag.weights[bag.offsets[token] : bag.offsets[token + 1]]
        np.testing.assert_allclose(weights, [idf(shared[feature]) for feature in entries[token]], rtol=1e-6)
    assert not bag.weights[: bag.offsets[1]].any()


def test_folding_the_expansion_changes_no_embedding(encoder):
    tower = encoder.towers["label"]
    folded = Tower(tower.tokenizer, None, tower.token_vectors())
    bags = encoder.prepare(QUERIES, "label")
    with torch.no_grad():
        torch.testing.assert_close(folded(bags), tower(bags), rtol=1e-5, atol=1e-6)


@given(st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=4), st.integers(0, 2**31))
def test_folding_equals_unfolded_for_any_expansion(texts, seed):
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 4, size=5)
    expansion = Bags(
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        np.concatenate([np.sort(generator.choice(7, n, replace=False)) for n in counts]).astype(np.int32),
        generator.random(counts.sum(), dtype=np.float32),
    )
    tower = Tower(None, expansion, torch.from_numpy(generator.standard_normal((7, 3))))
    distinct = [sorted(set(text)) for text in texts]
    bags = Bags(
        np.concatenate(([0], np.cumsum([len(ids) for ids in distinct]))).astype(np.int64),
        np.array([i for ids in distinct for i in ids], dtype=np.int32),
        generator.random(sum(map(len, distinct)), dtype=np.float32),
    )
    with torch.no_grad():
        torch.testing.assert_close(Tower(None, None, tower.token_vectors())(bags), tower(bags), rtol=1e-5, atol=1e-6)


def test_a_text_without_a_known_token_does_not_divide_by_zero(encoder):
    features = encoder.prepare(["", "?!"], "query")
    embeddings_ND = encoder.embed(features, "query")
    embeddings_ND.sum().backward()
    assert (embeddings_ND == 0).all()
    for parameter in encoder.module.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    encoder.module.zero_grad(set_to_none=True)


def test_words_of_letters_never_seen_say_nothing(encoder):
    foreign = ["日本語 квартира", "tender 日本語 tram"]
    embeddings_ND = embed_texts(encoder, [*foreign, "tender tram"], "query")
    assert embeddings_ND[0].tolist() == [0.0] * encoder.dimension
    direction_2D = torch.nn.functional.normalize(embeddings_ND[1:].double(), dim=1)
    torch.testing.assert_close(direction_2D[0], direction_2D[1], rtol=0, atol=1e-6)


def test_saved_it_is_the_same_encoder_and_a_plain_sentence_transformer(encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder.module.eval()
    folder = tmp_path / "encoder"
    encoder.save(folder)
    queries_ND, labels_ND = embed_texts(encoder, QUERIES, "query"), embed_texts(encoder, LABELS, "label")

    loaded = OPTIONS.load(folder)
    assert loaded.similarity == encoder.similarity and loaded.dimension == 8
    assert (loaded.towers["query"] is loaded.towers["label"]) == (encoder.towers["query"] is encoder.towers["label"])
    torch.testing.assert_close(embed_texts(loaded, QUERIES, "query"), queries_ND, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(embed_texts(loaded, LABELS, "label"), labels_ND, rtol=1e-5, atol=1e-6)

    model = SentenceTransformer(str(folder), device="cpu")  # no trust_remote_code
    assert model.similarity_fn_name == encoder.similarity
    np.testing.assert_allclose(model.encode_query(QUERIES), queries_ND, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.encode_document(LABELS), labels_ND, rtol=1e-4, atol=1e-5)
    if len(encoder.module) == 1:
        np.testing.assert_allclose(model.encode(LABELS), labels_ND, rtol=1e-4, atol=1e-5)


def test_saved_twice_it_is_the_same_files(corpus, tmp_path):
    for name in ("a", "b"):
        OPTIONS.build(*corpus, seed=0).save(tmp_path / name)
    for path in sorted((tmp_path / "a").rglob("*")):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.is_dir() or path.read_bytes() == other.read_bytes(), path.name


def test_saved_for_training_it_is_the_same_to_the_bit(encoder, tmp_path):
    encoder.save_training(tmp_path)
    options = replace(OPTIONS, similarity=encoder.similarity, shared=len(encoder.module) == 1, dropout=0.25)
    loaded = options.load_training(tmp_path)
    assert loaded.dropout == 0.25 and loaded.similarity == encoder.similarity
    for (name, old), (other, new) in zip(
        encoder.module.state_dict().items(), loaded.module.state_dict().items(), strict=True
    ):
        assert name == other and torch.equal(old, new)
    for role in ("query", "label"):
        old, new = encoder.towers[role], loaded.towers[role]
        assert old.tokenizer.to_str() == new.tokenizer.to_str()
        if old.expansion is not None:
            for field in ("offsets", "ids", "weights"):
                np.testing.assert_array_equal(getattr(old.expansion, field), getattr(new.expansion, field))
        assert torch.equal(embed_texts(encoder, QUERIES, role), embed_texts(loaded, QUERIES, role))


def test_dropout_is_for_training_only(corpus):
    encoder = replace(OPTIONS, dropout=0.5).build(*corpus, seed=0)
    features = encoder.prepare(LABELS, "label")
    encoder.module.train()
    first, second = encoder.embed(features, "label"), encoder.embed(features, "label")
    assert not torch.equal(first, second)
    assert torch.equal(*(next(embed_chunks(encoder, features, "label")) for _ in range(2)))
    assert encoder.module.training, "the mode is put back"


def test_chunks_of_any_size_give_the_same_embeddings(encoder):
    texts = [*QUERIES, *LABELS] * 3
    whole_ND = embed_texts(encoder, texts, "query")
    for size in (1, 4, 100):
        torch.testing.assert_close(embed_texts(encoder, texts, "query", chunk_size=size), whole_ND)
    assert embed_texts(encoder, [], "query").shape == (0, 8)


def test_pretrained_starts_from_the_vectors_of_the_package(corpus):
    from xmc.encode.tokenizer import package_vectors

    encoder = StaticOptions(dimension=256, pretrained="wordllama", similarity="dot").build(*corpus, seed=0)
    tokenizer, table_VD = package_vectors("wordllama")
    ids = tokenizer.encode("heart attack", add_special_tokens=False).ids
    got_ND = embed_texts(encoder, ["heart attack"], "query").numpy()
    np.testing.assert_allclose(got_ND[0], table_VD[ids].mean(axis=0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=r"dimension is 64, but the vectors of 'wordllama' have 256\. Set"):
        StaticOptions(dimension=64, pretrained="wordllama").build(*corpus, seed=0)
    with pytest.raises(ConfigError, match="package 'wordlama' is not installed"):
        StaticOptions(pretrained="wordlama").build(*corpus, seed=0)


def test_another_kind_of_encoder_is_not_loaded(tmp_path):
    (tmp_path / "xmc_encoder.json").write_text(json.dumps({"encoder": "other"}))
    with pytest.raises(ArtifactError, match="holds the encoder 'other', expected 'static'"):
        OPTIONS.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dimension": 0}, "dimension must be >= 1"),
        ({"vocabulary_size": 99}, "vocabulary_size must be >= 100"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"dropout": math.nan}, r"dropout must lie in \[0, 1\), got nan"),
        ({"ngrams_shortest": 6}, r"ngrams_shortest must lie in \[1, ngrams_longest\], got 6"),
        ({"ngrams_shortest": 0}, "got 0"),
        ({"ngrams_longest": -1}, "ngrams_shortest must lie"),
        ({"similarity": "euclid"}, "'dot' or 'cosine'"),
        ({"dimensions": 8}, "Did you mean 'dimension'"),
    ],
)
def test_options_that_cannot_work_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(StaticOptions, values, section="encoder")


def test_a_static_encoder_is_safe_in_several_threads(corpus):
    from concurrent.futures import ThreadPoolExecutor

    encoder: StaticEncoder = OPTIONS.build(*corpus, seed=0)
    encoder.module.eval()
    expected_ND = embed_texts(encoder, LABELS, "query")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: embed_texts(encoder, LABELS, "query"), range(64)))
    assert all(torch.equal(answer, expected_ND) for answer in answers)
