"""Options: what is not allowed is refused by key, in Python and from a configuration."""

import pytest

from xmc.config import build_options
from xmc.errors import ConfigError
from xmc.evaluate.options import EvaluateOptions


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("ks", (), r"of 1\.\.10,000"),
        ("ks", (5, 0), r"of 1\.\.10,000"),
        ("propensity_a", -1.0, "0 or more"),
        ("propensity_a", float("nan"), "0 or more"),
        ("propensity_b", 0.0, "above 0"),
        ("torso_min", 0, "at least 1"),
        ("head_min", 9, r"at least torso_min \(10\)"),
        ("bootstrap_samples", -1, "0 \\(off\\) to 100,000"),
        ("bootstrap_seed", -1, "0 or more"),
        ("auc_negatives", -1, "0 \\(off\\) to 10,000"),
        ("auc_negatives", 10_001, "0 \\(off\\) to 10,000"),
    ],
)
def test_what_is_not_allowed_is_refused(key, value, allowed):
    with pytest.raises(ConfigError, match=rf"evaluate\.{key} must be {'one or more ' if key == 'ks' else ''}{allowed}"):
        EvaluateOptions(**{key: value})
    with pytest.raises(ConfigError, match=rf"evaluate\.{key} must be"):
        build_options(EvaluateOptions, {key: value}, section="evaluate")


def test_a_configuration_gives_the_same_options():
    values = {"ks": [1, 20], "head_min": 100, "graded_ndcg": True}
    expected = EvaluateOptions(ks=(1, 20), head_min=100, graded_ndcg=True)
    assert build_options(EvaluateOptions, values, section="evaluate") == expected
