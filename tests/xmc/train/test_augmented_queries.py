"""Invariants: a batch has the texts of its epoch; those made with the model survive a restart; a run that lost them in
mid-epoch says so; where nothing is rewritten the prepared queries are used as they are."""

import numpy as np
import pytest
from train_cases import LetterEncoder, dual_encoder, random_texts

from xmc.api import QueryMap
from xmc.errors import ArtifactError, ConfigError, PluginError
from xmc.train.augmented_queries import AugmentedQueries, open_augmented
from xmc.train.epoch_model import epoch_model
from xmc.train.options import TrainOptions
from xmc_baselines.info_nce import InfoNce

TEXTS = ["ab", "cd", "ef", "gh"]


class Repeat:
    """Doubles the odd rows in each epoch, and counts how often it was asked."""

    def __init__(self, needs_model):
        self.needs_model, self.asked = needs_model, 0

    def rewrite(self, query_rows_N, epoch, model):
        self.asked += 1
        assert (model is not None) == self.needs_model
        return [TEXTS[row] + TEXTS[row][: row % 2] * (epoch + 1) for row in query_rows_N.tolist()]


def make(folder, needs_model=True):
    return AugmentedQueries(Repeat(needs_model), TEXTS, open_augmented(folder))


def prepare(queries, epoch, *, at_start=True):
    queries.prepare(epoch, np.arange(4), lambda: "a model", at_start=at_start)


def batch(queries, rows, epoch):
    encoder = LetterEncoder()
    found, changed = queries.features(encoder, encoder.prepare(TEXTS, "query"), np.array(rows), epoch)
    wanted = [TEXTS[row] + TEXTS[row][: row % 2] * (epoch + 1) for row in rows]
    assert tuple(found) == tuple(encoder.prepare(wanted, "query"))
    return changed


def test_a_batch_has_the_texts_of_its_epoch(tmp_path):
    with_model, without = make(tmp_path), make(tmp_path, needs_model=False)
    for epoch in range(3):
        assert with_model.is_due(epoch) and not without.is_due(epoch)
        prepare(with_model, epoch)
        assert not with_model.is_due(epoch)
        for queries in (with_model, without):
            assert batch(queries, [3, 0, 1], epoch) == 2
            assert batch(queries, [2, 0], epoch) == 0
    assert with_model.augmentation.asked == 3


def test_an_unchanged_batch_is_not_prepared_again(tmp_path):
    encoder, queries = LetterEncoder(), make(tmp_path, needs_model=False)
    clean = encoder.prepare(TEXTS, "query")
    encoder.prepare = None
    assert tuple(queries.features(encoder, clean, np.array([2, 0]), 0)[0]) == (clean[2], clean[0])


def test_a_restart_reads_what_was_rewritten(tmp_path):
    prepare(make(tmp_path), 1)
    again = make(tmp_path)
    prepare(again, 1, at_start=False)
    assert again.augmentation.asked == 0 and batch(again, [1, 2, 3], 1) == 2


def test_lost_in_mid_epoch(tmp_path):
    with pytest.raises(ArtifactError, match=r"lacks the texts rewritten at the start of epoch 2.*--overwrite"):
        prepare(make(tmp_path), 1, at_start=False)
    prepare(make(tmp_path), 1)
    with pytest.raises(ArtifactError, match="epoch 3"):
        prepare(make(tmp_path), 2, at_start=False)


def test_a_text_too_few_is_the_plugins_error(tmp_path):
    queries = make(tmp_path, needs_model=False)
    queries.augmentation.rewrite = lambda rows, epoch, model: []
    with pytest.raises(PluginError, match="answered 0 texts for 1 query"):
        batch(queries, [0], 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "a NoneType, wanted is a list of 4 texts"),
        ("abcd", "a str, wanted"),
        ([None] * 4, "None among the texts"),
    ],
)
def test_what_is_no_list_of_texts_is_the_plugins_error(tmp_path, answer, message):
    queries = make(tmp_path)
    queries.augmentation.rewrite = lambda query_rows_N, epoch, model: answer
    with pytest.raises(PluginError, match=rf"Repeat\.rewrite answered {message}"):
        prepare(queries, 0)


@pytest.mark.parametrize("memory_mb", [1, 512])
def test_the_model_scores_queries_as_it_is_trained_to(memory_mb):
    encoder, texts = LetterEncoder(), random_texts(30_000 if memory_mb == 1 else 30, 1)
    head = dual_encoder(encoder, TrainOptions(), loss=InfoNce(), labels=texts)
    model = epoch_model(encoder, head, encoder.prepare(TEXTS, "query"), labels=len(texts), score_memory_mb=memory_mb)
    chunks = [scores_RL.clone() for scores_RL in model.scores(np.array([2, 0, 3]))]
    assert (len(chunks) > 1) == (memory_mb == 1)
    queries_QD = encoder.embed(encoder.prepare([TEXTS[2], TEXTS[0], TEXTS[3]], "query"), "query").detach()
    for row, scores_L in enumerate(row for chunk in chunks for row in chunk):
        assert np.allclose(scores_L, model.labels_LD @ queries_QD[row].to(model.labels_LD), atol=1e-5)


def test_a_head_that_maps_queries_is_refused():
    encoder = LetterEncoder()
    head = dual_encoder(encoder, TrainOptions(), loss=InfoNce(), labels=TEXTS)
    head.query_map = lambda: QueryMap(None, None)
    with pytest.raises(ConfigError, match="the head maps queries"):
        epoch_model(encoder, head, None, labels=4, score_memory_mb=1)
