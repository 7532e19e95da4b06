"""Invariants: what cannot work is refused before anything starts, naming the key, the value and what is allowed."""

import math

import pytest

from xmc.config import build_options
from xmc.errors import ConfigError
from xmc.train.options import TrainOptions


def test_the_defaults_are_allowed():
    assert build_options(TrainOptions, {}, section="train") == TrainOptions()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *[
            (key, 0, f"{key} must be >= 1, got 0")
            for key in (
                "batch_size",
                "sampled_labels",
                "label_chunk",
                "score_memory_mb",
                "validation_queries",
            )
        ],
        *[
            ("learning_rate", value, "learning_rate must be a finite number > 0")
            for value in (0, -1, math.nan, math.inf)
        ],
        *[
            (key, value, rf"{key} must lie in \[0, 1\), got {value}")
            for key in ("warmup_share", "validation_share", "second_moment_decay")
            for value in (-0.1, 1.0, math.nan)
        ],
        *[
            (key, value, f"{key} must be a finite number >= 0, got {value}")
            for key in ("weight_decay", "label_learning_rate", "clip_norm", "checkpoint_s")
            for value in (-1.0, math.nan, math.inf)
        ],
        ("epochs", -1, "epochs must be >= 0, got -1"),
        ("patience", -1, "patience must be >= 0, got -1"),
        ("seed", -1, "seed must be >= 0, got -1"),
        ("seed", 2**63, r"seed must be below 2\^63, got 9223372036854775808"),
        ("label_text_share", -0.5, "label_text_share must be 'auto' or >= 0, got -0.5"),
        ("label_text_share", math.inf, "label_text_share must be 'auto' or >= 0, got inf"),
        ("label_text_share", "some", "label_text_share"),
        ("schedule", "step", "'linear', 'cosine' or 'constant'"),
        ("label_scope", "few", "'all', 'sampled' or 'mined'"),
        ("epochs", 2.5, "epochs"),
        ("epochs", "many", r"epochs: .*, got 'many'"),
        ("batchsize", 5, r"has no key 'batchsize' .* Did you mean 'batch_size'\?"),
    ],
)
def test_what_cannot_work_is_refused(key, value, message):
    with pytest.raises(ConfigError, match=message) as raised:
        build_options(TrainOptions, {key: value}, section="train", source="my.toml")
    assert str(raised.value).startswith("my.toml: [train]")
