"""Invariants: the recipe for pretrained models says what it lacks, fine-tunes in small steps, or takes it as it is."""

import pytest
from small_transformer import save_transformer

import xmc
from xmc.errors import ConfigError
from xmc.retrieve.retriever import Retriever

ALIKE = 0.9  # the least cosine of a text's vectors before and after steps of this size


def test_without_a_model_it_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match=r"encoder\.model=PATH"):
        xmc.train_run("tiny", tmp_path / "run", plugin="dexml.pretrained")


def test_a_model_is_fine_tuned_in_small_steps_or_taken_as_it_is(tmp_path):
    model = save_transformer(tmp_path / "model")
    vectors = {}
    for epochs in (0, 1):
        encoder = {"encoder.model": str(model), "encoder.max_tokens": 32}
        settings = {**encoder, "train.epochs": epochs, "train.device": "cpu"}
        report = xmc.train_run("tiny", tmp_path / str(epochs), plugin="dexml.pretrained", settings=settings)
        assert report["epochs_run"] == epochs and report["label_scope"] == "sampled"
        vectors[epochs] = Retriever.load(tmp_path / str(epochs)).encode(["tender tram", "vivid mango"])
    cosines_Q = (vectors[0] * vectors[1]).sum(dim=1)
    assert not vectors[0].equal(vectors[1]) and cosines_Q.min() > ALIKE
