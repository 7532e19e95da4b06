"""Invariants of both encoders under a mixture: saved folders open here and there with the same vectors, and no code of
a folder is run; training goes on bit for bit; certificates are refused; a fresh mixture is nearly the bare encoder.
"""

import json

import pytest
import torch
from sentence_transformers import SentenceTransformer

from xmc.checks.additive import additive_texts
from xmc.encode.encoder import Encoder, EncoderOptions, embed_texts
from xmc.encode.expert_shares import expert_shares
from xmc.encode.moe_sentence_transformer import MoeSentenceTransformerOptions
from xmc.encode.moe_static import MoeStaticOptions
from xmc.encode.static import StaticOptions
from xmc.errors import ArtifactError, ConfigError

QUERIES = ["broken left wrist", "heart attack with shock", "fever of the rat", "", "pain pain in the chest"]
LABELS = ["fracture of wrist", "myocardial infarction", "rat-bite fever", "chest pain"]
SIZES = {"dimension": 12, "vocabulary_size": 300}


def apart(encoder):
    """Move the experts far from each other, so that a mixture that is left out shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in encoder.module.named_parameters():
            if "moves" in name or "gate" in name:
                parameter.add_(20 * torch.randn_like(parameter))
    return encoder


def static(**options):
    return apart(MoeStaticOptions(**SIZES, **options).build(QUERIES, LABELS, seed=1))


def both_sides(encoder):
    return torch.stack([embed_texts(encoder, QUERIES, role) for role in ("query", "label")])


def opened(folder):
    """The vectors of both sides by sentence-transformers itself."""
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    return torch.stack([
        torch.from_numpy(encode(QUERIES)) for encode in (model.encode_query, model.encode_document)
    ])  # fmt: skip


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_static_saved_opens_here_and_in_sentence_transformers(tmp_path, shared, similarity):
    encoder = static(shared=shared, similarity=similarity)
    expected = both_sides(encoder)
    assert torch.equal(expected[0], expected[1]) == shared
    encoder.save(tmp_path)
    loaded = MoeStaticOptions().load(tmp_path)
    assert loaded.similarity == similarity
    torch.testing.assert_close(both_sides(loaded), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(opened(tmp_path), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_static_training_goes_on_from_the_same_bits(tmp_path, shared):
    encoder = static(shared=shared)
    encoder.save_training(tmp_path)
    loaded = MoeStaticOptions(**SIZES, shared=shared).load_training(tmp_path)
    before, after = (dict(each.module.named_parameters()) for each in (encoder, loaded))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert len(loaded.label_parameters()) == (0 if shared else 4)


def test_a_fresh_mixture_is_nearly_the_bare_encoder():
    bare = StaticOptions(**SIZES).build(QUERIES, LABELS, seed=1)
    fresh = MoeStaticOptions(**SIZES).build(QUERIES, LABELS, seed=1)
    assert isinstance(fresh, Encoder) and isinstance(MoeStaticOptions(), EncoderOptions)
    cosines = torch.cosine_similarity(embed_texts(bare, LABELS, "label"), embed_texts(fresh, LABELS, "label"))
    assert cosines.min() > 0.9
    assert not torch.equal(embed_texts(bare, LABELS, "label"), embed_texts(fresh, LABELS, "label"))


def test_the_exact_certificate_is_refused_for_it_is_no_sum_over_words():
    with pytest.raises(ConfigError, match="'moe-static' is not a sum over words"):
        additive_texts(static(), "query")
    assert not hasattr(static(), "word_sums")


def test_the_folder_of_another_encoder_is_refused(tmp_path):
    StaticOptions(**SIZES).build(QUERIES, LABELS, seed=1).save(tmp_path)
    with pytest.raises(ArtifactError, match="holds the encoder 'static', expected 'moe-static'"):
        MoeStaticOptions().load(tmp_path)


def test_shares_are_counted_text_by_text_and_ask_for_a_mixture():
    encoder = static(experts=4)
    bare_ND = embed_texts(encoder._base, QUERIES, "query")
    places = encoder.layers["query"].gate(bare_ND).topk(2, dim=1).indices.flatten()
    expected = torch.bincount(places, minlength=4).double() / len(places)
    torch.testing.assert_close(expert_shares(encoder, QUERIES, "query"), expected)
    assert expert_shares(encoder, [], "query").sum() == 0
    with pytest.raises(ConfigError, match="'static' has no mixture of experts"):
        expert_shares(StaticOptions(**SIZES).build(QUERIES, LABELS, seed=1), QUERIES, "query")


@pytest.mark.pretrained
def test_minilm_saved_opens_here_and_in_sentence_transformers(tmp_path, minilm):
    options = MoeSentenceTransformerOptions(model=str(minilm), experts=4, query_prompt="q: ")
    encoder = apart(options.build([], [], seed=0))
    assert encoder.similarity == "cosine"
    expected = both_sides(encoder)
    encoder.save(tmp_path / "saved")
    encoder.save_training(tmp_path / "training")
    for folder in (tmp_path / "saved", tmp_path / "training"):
        loaded = options.load(folder)
        assert loaded.similarity == "cosine"
        torch.testing.assert_close(both_sides(loaded), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(opened(tmp_path / "saved"), expected, rtol=1e-4, atol=1e-5)
    refuse_foreign_module(options, tmp_path / "saved")


def refuse_foreign_module(options, folder):
    """A module whose code lies in the folder is refused before it is imported."""
    (folder / "evil.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "evil.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ArtifactError, match=r"holds a module 'evil\.Module'"):
        options.load(folder)
