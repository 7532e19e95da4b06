"""Numbers of numpy and torch are those of Python, in every option of the library; true and false are none."""

import json
import math
from dataclasses import asdict
from decimal import Decimal

import numpy as np
import pytest
import torch

from xmc.choose.judge import ChooseOptions
from xmc.errors import ConfigError
from xmc.given_numbers import any_number, whole_number
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
