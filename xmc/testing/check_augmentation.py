"""What every augmentation must keep to; a plugin's whole test may be `check_augmentation(MyAugmentation())`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from xmc.api import Augmentation, AugmentationContext, AugmentationOptions, EpochModel, Positives
from xmc.encode.encoder import embed_texts
from xmc.encode.static import StaticOptions
from xmc.testing.conformance import expect, plain_options
from xmc.testing.global_state import left_alone

LABELS = ("fast car", "big old house", "red fish", "happy child", "small boat", "cold winter day")
QUERIES = ("a fast car and a big car", "Old House", "", "the happy child", "winter; cold!", "fish", "small red boat")
EPOCHS = 3


def check_augmentation(options: AugmentationOptions, *, context: AugmentationContext | None = None) -> None:
    """Check the contract of an augmentation: options, a text for each query, a pure function of query row and epoch.

    And that it leaves torch's random generator, default dtype, gradient mode and threads alone.

    It rewrites a few made-up queries of a small `static` encoder, or those of `context`, whose labels are then the
    texts of the queries.

    Raises: ConformanceError naming the augmentation, the promise and the texts.

    >>> from xmc_robust.random_words import RandomWords
    >>> check_augmentation(RandomWords())
    """
    _options_are_plain(options)
    labels = LABELS if context is None else tuple(context.texts)
    context = context or example_context()
    before = list(context.texts)
    augmentation, other = _built(options, context), _built(options, context)
    model = example_model(context, labels) if augmentation.needs_model else None
    rows = np.arange(len(context.texts))
    with left_alone(options):
        _texts(options, _built(options, context), rows, 0, model)
    for epoch in range(EPOCHS):
        texts = _texts(options, augmentation, rows, epoch, model)
        again = _texts(options, other, rows, epoch, model)
        expect(again == texts, options, "built anew it answers the same", first=texts, second=again)
        turned = _texts(options, augmentation, rows[::-1], epoch, model)[::-1]
        expect(turned == texts, options, "the order of the queries makes no difference", first=texts, second=turned)
        single = [_texts(options, augmentation, rows[row : row + 1], epoch, model)[0] for row in rows.tolist()]
        expect(single == texts, options, "the other queries make no difference", first=texts, second=single)
    resumed = _texts(options, _built(options, context), rows, EPOCHS - 1, model)
    promise = "a resumed run, without the epochs before, has the same"
    expect(resumed == texts, options, promise, first=texts, resumed=resumed)
    _texts(options, augmentation, rows[:0], 0, model)  # no queries, no texts
    expect(list(context.texts) == before, options, "the texts it was built from are not written into")


def example_context() -> AugmentationContext:
    """Seven queries, the third of them empty, the last without a positive."""
    positives = Positives(np.array([0, 1, 2, 3, 4, 5, 7, 7]), np.array([0, 1, 2, 3, 5, 2, 4]), np.ones(7, np.float32))
    encoder = StaticOptions(dimension=8, vocabulary_size=300).build(QUERIES, LABELS, seed=0)
    return AugmentationContext(QUERIES, positives, 5, encoder)


def example_model(context: AugmentationContext, labels: tuple[str, ...]) -> EpochModel:
    """The untrained encoder of a context as a model of these labels."""
    labels_LD = embed_texts(context.encoder, labels, "label")

    def scores(query_rows: np.ndarray[Any, Any]) -> Iterator[Tensor]:
        for start in range(0, len(query_rows), 2):
            some = [context.texts[row] for row in query_rows[start : start + 2].tolist()]
            yield embed_texts(context.encoder, some, "query") @ labels_LD.T

    return EpochModel(context.encoder, labels_LD, scores)


def _options_are_plain(options: Any) -> None:
    back = plain_options(options, section="augmentation")
    prints = [options.fingerprint(), back.fingerprint()]
    expect(isinstance(prints[0], str) and prints[0] == prints[1], options, "the same fingerprint twice", got=prints)


def _built(options: Any, context: AugmentationContext) -> Augmentation:
    augmentation = options.build(context)
    expect(isinstance(augmentation, Augmentation), options, "build() answers an Augmentation", got=augmentation)
    return augmentation


def _texts(
    options: Any, augmentation: Augmentation, rows: np.ndarray[Any, Any], epoch: int, model: EpochModel | None
) -> list[str]:
    texts = augmentation.rewrite(rows, epoch, model)
    is_well_formed = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    expect(is_well_formed and len(texts) == len(rows), options, "a text for each query", queries=len(rows), got=texts)
    return texts
