"""Invariants, with encoders small enough to list every text: the rewritten text is that of the least gap within the
radius; it is the witness of the certificate; labels attacked are the strongest right and wrong ones."""

import numpy as np
import pytest
import torch

from xmc.api import AugmentationContext, ConfigError, DataError, Positives, Substitutions
from xmc.checks.additive import StaticTexts
from xmc.checks.variants import variants
from xmc.checks.worst_gap import worst_substitutions
from xmc.encode.encoder import embed_texts
from xmc.encode.static import StaticOptions
from xmc.encode.tfidf import TfidfOptions
from xmc.substitutions.word_sets import replaced
from xmc.testing import check_augmentation
from xmc.testing.check_augmentation import example_model
from xmc_robust.edits import list_edits
from xmc_robust.worst_case import WorstCase, strongest_labels, worst_texts

WORDS = ["red", "blue", "fish", "sea", "old", "boat", "net", "Fishes"]


def toy(seed, similarity="cosine", ngrams=0):
    """Texts of up to 5 words, an encoder with random vectors, and up to 3 substitutes for most words."""
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, int(generator.integers(1, 6)))) for _ in range(12)]
    options = StaticOptions(dimension=4, vocabulary_size=120, ngrams_longest=ngrams, similarity=similarity)
    encoder = options.build(texts, texts, seed=seed)
    with torch.no_grad():
        encoder.module[0].table_FD.normal_(generator=torch.Generator().manual_seed(seed))
    encoder.module.eval()
    known = [word.lower() for word in WORDS]
    of_word = {
        word: tuple(other for other in generator.choice([*known, "unheard"], 3, replace=False) if other != word)
        for word in known
        if generator.random() < 0.7
    }
    return texts, encoder, Substitutions({word: others for word, others in of_word.items() if others})


def sums_of(encoder, texts):
    """The undivided sum of each text, token by token."""
    tower = encoder.towers["query"]
    vectors_VD = tower.token_vectors().double()
    ids_of_texts = [tower.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    return torch.stack([vectors_VD[ids].sum(dim=0) for ids in ids_of_texts])


@pytest.mark.parametrize("radius", [1, 2, 0])
@pytest.mark.parametrize("ngrams", [0, 4])
def test_the_least_gap_of_all_texts_within_the_radius(radius, ngrams):
    tried = 0
    for seed in range(6):
        texts, encoder, some = toy(seed, ngrams=ngrams)
        directions_ND = torch.randn(len(texts), 4, generator=torch.Generator().manual_seed(seed))
        edits = list_edits(texts, some)
        words_WD = encoder.word_sums(edits.words, "query")
        for text, after, direction_D in zip(
            texts, worst_texts(texts, edits, words_WD, directions_ND, radius=radius), directions_ND, strict=True
        ):
            every = list(variants(text, some.sites(text), radius))
            gaps_V = sums_of(encoder, every) @ direction_D.double()
            assert after in every
            found = float(sums_of(encoder, [after])[0] @ direction_D.double())
            assert found == pytest.approx(float(gaps_V.min()), abs=1e-5)
            tried += len(every) > 1
    assert tried > 30


def test_it_is_the_witness_of_the_certificate():
    for seed in range(5):
        texts, encoder, some = toy(seed)
        directions_ND = torch.randn(len(texts), 4, generator=torch.Generator().manual_seed(seed))
        edits = list_edits(texts, some)
        after = worst_texts(texts, edits, encoder.word_sums(edits.words, "query"), directions_ND, radius=2)
        certificate = StaticTexts.of(encoder, "query")
        for text, ours, direction_D in zip(texts, after, directions_ND, strict=True):
            sites = some.sites(text)
            witness = replaced(text, worst_substitutions(certificate.edits(text, sites, 2), direction_D, 2))
            assert sums_of(encoder, [ours])[0] @ direction_D.double() == pytest.approx(
                float(sums_of(encoder, [witness])[0] @ direction_D.double()), abs=1e-5
            )


def test_texts_without_a_substitute_or_a_better_one_stay():
    texts, encoder, _ = toy(0)
    for some in (Substitutions({}), Substitutions({"red": ("blue",)})):
        edits = list_edits(texts, some)
        words_WD = encoder.word_sums(edits.words, "query")
        assert worst_texts(texts, edits, words_WD, torch.zeros(len(texts), 4), radius=0) == texts


def context_of(texts, encoder, positives):
    offsets = np.concatenate(([0], np.cumsum([len(rows) for rows in positives])))
    rows = np.array([row for some in positives for row in some], dtype=np.int32)
    return AugmentationContext(texts, Positives(offsets, rows, np.ones(len(rows), np.float32)), 1, encoder)


def test_the_strongest_right_and_wrong_label():
    texts, encoder, _ = toy(3)
    positives = [[(row + step) % 12 for step in range(row % 4)] for row in range(11)] + [list(range(12))]
    context = context_of(texts, encoder, positives)
    model = example_model(context, tuple(texts))
    right_N, wrong_N = strongest_labels(model, np.arange(12), context.positives)
    scores_QL = embed_texts(encoder, texts, "query") @ model.labels_LD.T
    for row, some in enumerate(positives):
        rest = [label for label in range(12) if label not in some]
        if some and rest:
            assert right_N[row] == max(some, key=lambda label: (scores_QL[row, label], -label))
            assert wrong_N[row] == max(rest, key=lambda label: (scores_QL[row, label], -label))
        else:
            assert right_N[row] == wrong_N[row]


def test_contract_and_share(tmp_path):
    path = tmp_path / "set.txt"
    path.write_text("fast quick rapid\nhouse: home dwelling\nhappy glad\nboat: ship")
    check_augmentation(WorstCase(radius=1, share=0.5, substitutions=str(path)))
    path.write_text("\n".join(WORDS).lower() + "\nred blue fish sea old boat net")
    texts, encoder, _ = toy(2)
    texts = texts * 40
    context = context_of(texts, encoder, [[row % 12] for row in range(len(texts))])
    model = example_model(context, tuple(texts[:12]))
    rows, changed = np.arange(len(texts)), {}
    for share in (0.0, 0.5, 1.0):
        after = WorstCase(share=share, substitutions=str(path)).build(context).rewrite(rows, 0, model)
        changed[share] = sum(one != other for one, other in zip(after, texts, strict=True))
    assert changed[0.0] == 0 and 0.35 * changed[1.0] < changed[0.5] < 0.65 * changed[1.0]


def test_a_rewritten_query_is_nearer_to_the_wrong_label():
    texts, encoder, some = toy(4)
    context = context_of(texts, encoder, [[row] for row in range(12)])
    model = example_model(context, tuple(texts))
    right_N, wrong_N = strongest_labels(model, np.arange(12), context.positives)
    directions_ND = model.labels_LD[right_N] - model.labels_LD[wrong_N]
    edits = list_edits(texts, some)
    after = worst_texts(texts, edits, encoder.word_sums(edits.words, "query"), directions_ND, radius=1)
    before_N, after_N = ((sums_of(encoder, some).float() * directions_ND).sum(dim=1) for some in (texts, after))
    assert bool((after_N <= before_N + 1e-6).all()) and after != texts


def test_what_cannot_work_is_refused():
    texts, encoder, _ = toy(0)
    tfidf = TfidfOptions(dimension=4, minimum_count=1).build(texts, texts, seed=0)
    with pytest.raises(ConfigError, match=r"sum over words, got 'tfidf'.*static, or augmentation.name=robust.random"):
        WorstCase().build(context_of(texts, tfidf, [[0]] * 12))
    with pytest.raises(DataError, match="no substitution set and no file 'nowhere'"):
        WorstCase(substitutions="nowhere").build(context_of(texts, encoder, [[0]] * 12))
    for options in ({"radius": -1}, {"share": 1.1}):
        with pytest.raises(ValueError, match=r"must (be|lie)"):
            WorstCase(**options)
    encoder.towers["query"].tokenizer.pre_tokenizer = None
    with pytest.raises(ConfigError, match="no sum over words"):
        encoder.word_sums(["a"], "query")
