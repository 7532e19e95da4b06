"""Numbers of numpy and torch are those of Python, in every option of the library; true and false are none."""

import json
import math
from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pytest
import torch

from xmc import LabelEditor, Retriever, predict_run, train_run
from xmc.choose.judge import ChooseOptions
from xmc.engine.verbs import tune_run
from xmc.errors import ConfigError
from xmc.given_numbers import any_number, true_or_false, whole_number
from xmc.tune.goal import Goal

HALVES = [0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), torch.tensor(0.5), Decimal("0.5")]
WHOLE = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)]


@pytest.mark.parametrize("value", WHOLE)
def test_a_whole_number_of_any_kind(value):
    for read in (whole_number, any_number):
        assert (found := read(value, name="k")) == 3 and type(found) is int


@pytest.mark.parametrize("value", HALVES)
def test_a_number_of_any_kind(value):
    assert (found := any_number(value, name="alpha")) == 0.5 and type(found) is float


TRUTHS = [True, np.True_, torch.tensor(True)]
NONE = ["3", None, [3], np.array([3]), torch.tensor([3.0]), 3j, *TRUTHS]


@pytest.mark.parametrize("value", [3.0, np.float64(3), torch.tensor(3.0), *NONE])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ConfigError, match=r"^k must be a whole number, got .{1,60}\.$"):
        whole_number(value, name="k")


@pytest.mark.parametrize("value", NONE)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match=r"^alpha must be a number, got .{1,60}\.$"):
        any_number(value, name="alpha")


@pytest.mark.parametrize("value", [False, np.False_, np.array(False), torch.tensor(False)])
def test_true_and_false_of_any_kind(value):
    assert true_or_false(value, name="resume") is False


@pytest.mark.parametrize("value", ["no", None, 1, np.array([True, False]), torch.tensor([True])])
def test_what_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ConfigError, match=r"^resume must be True or False, got (?s:.){1,60}\.$"):
        true_or_false(value, name="resume")


BOTH = np.array([True, False])  # its truth is an error of numpy


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("resume", lambda run, **switch: train_run("tiny", run, **switch)),
        ("overwrite", lambda run, **switch: train_run("tiny", run, **switch)),
        ("dry_run", lambda run, **switch: tune_run(run, Goal(0.9), **switch)),
        ("missing_ok", lambda run, **switch: LabelEditor(run).remove(["L05"], **switch)),
        ("moved", lambda run, **switch: predict_run(run, "queries.parquet", "out", **switch)),
        ("reranked", lambda run, **switch: Retriever.load(run, **switch)),
        ("warn", lambda run, **switch: Retriever.load(run, **switch)),
        ("ignore_unknown", lambda run, **switch: Retriever.load(run).filter(["L05"], **switch)),
    ],
)
def test_every_verb_says_which_of_its_switches_is_none(tiny_run, name, call):
    with pytest.raises(ConfigError, match=f"^{name} must be True or False, got array"):
        call(tiny_run, **{name: BOTH})


def test_the_least_is_allowed_and_less_is_not():
    assert whole_number(np.int8(0), name="seed", least=0) == 0
    with pytest.raises(ConfigError, match=r"^seed must be 0 or more, got -1\.$"):
        whole_number(np.int8(-1), name="seed", least=0)


def test_what_options_keep_can_be_written_as_json():
    given = np.float32(0.5), np.int64(1000), np.float64(0.5), np.int64(3), np.int64(2)
    assert json.loads(json.dumps(asdict(Goal(*given)))) == asdict(Goal(0.5, 1000, 0.5, 3, 2))
    options = ChooseOptions(temperature=np.float32(0.5), seed=np.int64(3))
    assert json.loads(json.dumps(asdict(options))) == asdict(ChooseOptions(temperature=0.5, seed=3))
    with pytest.raises(ConfigError, match=r"target_recall must be a number, got '0\.9'"):
        Goal(target_recall="0.9")
    with pytest.raises(ConfigError, match="temperature must be 0 or a finite number above, got inf"):
        ChooseOptions(temperature=math.inf)
