"""Invariants: written as ONNX and run without torch, each encoder that has graphs gives its own embeddings, whatever
the number and length of texts; what has none says so."""

import numpy as np
import pytest
import torch
from repetitions import only_in_full

from xmc.data.dataset import load_dataset
from xmc.encode.encoder import ROLES, embed_texts
from xmc.encode.moe_sentence_transformer import MoeSentenceTransformerOptions
from xmc.encode.moe_static import MoeStaticOptions
from xmc.encode.sentence_transformer import SentenceTransformerOptions
from xmc.encode.sparse_tfidf import SparseTfidfOptions
from xmc.encode.static import StaticOptions
from xmc.encode.text_graph import GraphEncoder, MeanOfTokens
from xmc.encode.tfidf import TfidfOptions
from xmc.engine.export_check import HARD_TEXTS
from xmc.engine.onnx_files import OnnxFiles, write_graph
from xmc.errors import ConfigError

TINY = load_dataset("tiny")
CORPUS = list(TINY.train.texts), [*TINY.labels.texts, *HARD_TEXTS]
TEXTS = ["tram", *HARD_TEXTS, *TINY.test.texts[:23], "tender tram vehicle " * 300]


def equal_embeddings(encoder, folder, *, absolute):
    """Write the encoder's graphs, run them on batches of 1 and 32, return the roles that they serve."""
    encoder.module.eval()
    assert isinstance(encoder, GraphEncoder)
    served = []
    for number, graph in enumerate(encoder.text_graphs()):
        (folder / str(number)).mkdir()
        write_graph(graph, folder / str(number))
        files = OnnxFiles(folder / str(number))
        for role, prompt in graph.prompts.items():
            expected_ND = embed_texts(encoder, TEXTS, role).numpy()
            texts = [prompt + text for text in TEXTS]
            assert len(texts) == 32
            np.testing.assert_allclose(files.embed(texts), expected_ND, rtol=0, atol=absolute)
            for row in (0, 1, 5, 31):
                np.testing.assert_allclose(files.embed([texts[row]])[0], expected_ND[row], rtol=0, atol=absolute)
            served.append(role)
    return served


@pytest.mark.parametrize(
    ("shared", "similarity"),
    [
        (True, "cosine"),
        (False, "dot"),
        pytest.param(True, "dot", marks=only_in_full),
        pytest.param(False, "cosine", marks=only_in_full),
    ],
)
def test_static(tmp_path, shared, similarity):
    options = StaticOptions(dimension=16, shared=shared, similarity=similarity)
    encoder = options.build(*CORPUS, seed=0)
    assert equal_embeddings(encoder, tmp_path, absolute=1e-5) == list(ROLES)
    assert len(encoder.text_graphs()) == (1 if shared else 2)


@pytest.mark.parametrize("shared", [True, False])
def test_moe_static(tmp_path, shared):
    """The trace goes through every expert, and must not leave out those that its example did not need."""
    options = MoeStaticOptions(dimension=16, shared=shared, experts=5, rate=1)
    encoder = options.build(*CORPUS, seed=0)
    with torch.no_grad():
        for layer in encoder.layers.values():
            layer.moves_EDD.normal_()
    bare_ND = embed_texts(encoder._base, TEXTS, "query")
    assert len(set(encoder.layers["query"].gate(bare_ND).argmax(1).tolist())) > 2
    assert equal_embeddings(encoder, tmp_path, absolute=1e-5) == list(ROLES)
    assert len(encoder.text_graphs()) == (1 if shared else 2)


def test_static_from_the_vectors_of_a_package(tmp_path):
    encoder = StaticOptions(pretrained="wordllama").build([], [], seed=0)
    assert equal_embeddings(encoder, tmp_path, absolute=1e-6) == list(ROLES)


@pytest.mark.parametrize("shared", [True, False])
def test_a_saved_static_encoder_opened_by_sentence_transformers(tmp_path, shared):
    StaticOptions(dimension=16, shared=shared).build(*CORPUS, seed=0).save(tmp_path / "saved")
    encoder = SentenceTransformerOptions(model=str(tmp_path / "saved")).build([], [], seed=0)
    assert equal_embeddings(encoder, tmp_path, absolute=1e-5) == list(ROLES)
    assert len(encoder.text_graphs()) == (1 if shared else 2)


@pytest.mark.pretrained
def test_minilm_under_a_mixture(tmp_path, minilm):
    encoder = MoeSentenceTransformerOptions(model=str(minilm), max_tokens=24, experts=3).build([], [], seed=0)
    assert equal_embeddings(encoder, tmp_path, absolute=1e-4) == list(ROLES)


@pytest.mark.pretrained
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"max_tokens": 48}, marks=only_in_full),
        {"similarity": "dot", "query_prompt": "Frage: ", "max_tokens": 16},
    ],
    ids=str,
)
def test_minilm(tmp_path, minilm, options):
    encoder = SentenceTransformerOptions(model=str(minilm), **options).build([], [], seed=0)
    assert equal_embeddings(encoder, tmp_path, absolute=2e-6) == list(ROLES)
    (graph,) = encoder.text_graphs()
    assert graph.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert max(len(e.ids) for e in graph.tokenizer.encode_batch(TEXTS)) == options["max_tokens"]


@pytest.mark.pretrained
def test_making_graphs_changes_nothing_in_the_encoder(minilm):
    encoder = SentenceTransformerOptions(model=str(minilm), max_tokens=32).build([], [], seed=0)
    encoder.module.eval()
    before_ND = embed_texts(encoder, TEXTS[:4], "query")
    (graph,) = encoder.text_graphs()
    graph.tokenizer.no_padding()
    assert not encoder.module.training
    assert torch.equal(embed_texts(encoder, TEXTS[:4], "query"), before_ND)


@pytest.mark.parametrize("options", [TfidfOptions(), SparseTfidfOptions()], ids=lambda options: type(options).__name__)
def test_encoders_that_count_words_have_no_graphs(options):
    assert not isinstance(options.build(*CORPUS, seed=0), GraphEncoder)


def test_a_model_that_begins_with_something_else_is_refused(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    model = SentenceTransformer(modules=[BoW(vocab=["red", "fish"])], device="cpu")
    model.save_pretrained(str(tmp_path / "bow"), create_model_card=False)
    encoder = SentenceTransformerOptions(model=str(tmp_path / "bow")).build([], [], seed=0)
    with pytest.raises(ConfigError, match=r"begins with BoW cannot be exported.*Transformer or StaticEmbedding"):
        encoder.text_graphs()


def test_the_mean_of_tokens_is_that_of_numpy():
    torch.manual_seed(0)
    table_VD = torch.randn(9, 4)
    ids_NT, mask_NT = torch.randint(9, (5, 7)), torch.randint(2, (5, 7))
    mask_NT[3] = 0
    got_ND = MeanOfTokens(table_VD, normalise=False)(ids_NT, mask_NT).numpy()
    for row in range(5):
        chosen = table_VD.numpy()[ids_NT[row][mask_NT[row] > 0].numpy()]
        expected = chosen.mean(axis=0) if len(chosen) else np.zeros(4)
        np.testing.assert_allclose(got_ND[row], expected, rtol=1e-5, atol=1e-6)
