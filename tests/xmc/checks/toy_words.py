"""Seven words, encoders over them with random vectors, and random substitutions: small enough to try every edit."""

import numpy as np
import torch

from xmc.encode.static import StaticOptions
from xmc.encode.tfidf import TfidfOptions
from xmc.substitutions.word_sets import Substitutions

WORDS = ["red", "blue", "fish", "sea", "old", "boat", "net"]
OPTIONS = {
    "static": StaticOptions(dimension=4, vocabulary_size=120, ngrams_longest=0),
    "static dot": StaticOptions(dimension=4, vocabulary_size=120, ngrams_longest=0, similarity="dot", shared=False),
    "tfidf": TfidfOptions(dimension=4, minimum_count=1, opening=3),
    "tfidf without opening": TfidfOptions(dimension=4, minimum_count=1, opening=0, label_pairs=False),
    "tfidf cosine": TfidfOptions(dimension=4, minimum_count=1, opening=2, similarity="cosine"),
}


def some_text(generator, longest=5):
    return " ".join(generator.choice(WORDS, int(generator.integers(1, longest + 1))))


def some_texts(generator, count):
    """Texts that differ as bags, so that no two of them tie."""
    return list(
        {" ".join(sorted(text.split())): text for text in (some_text(generator) for _ in range(count))}.values()
    )


def some_substitutions(generator, share=0.6):
    of_word = {
        word: tuple(other for other in generator.choice(WORDS, 3, replace=False) if other != word)
        for word in WORDS
        if generator.random() < share
    }
    return Substitutions({word: others for word, others in of_word.items() if others})


def toy_encoder(kind, texts, seed):
    encoder = OPTIONS[kind].build(texts, texts, seed=seed)
    with torch.no_grad():
        for number, parameter in enumerate(encoder.module.parameters()):
            parameter.normal_(generator=torch.Generator().manual_seed(seed + number))
    encoder.module.eval()
    return encoder


def toy(kind, seed, share=0.6):
    generator = np.random.default_rng(seed)
    texts = some_texts(generator, 14)
    return generator, texts, toy_encoder(kind, texts, seed), some_substitutions(generator, share)
