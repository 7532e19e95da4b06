"""Invariants: what `xmc privatise` writes trains with `--plugin aggregate`, whole bags at a time, and learns; a refusal
is exit code 2; a bag that a batch cannot hold is refused."""

import json

import pytest

from xmc.engine.verbs import train_run
from xmc.errors import ConfigError

SMALL = ("encoder.dimension=16", "encoder.ngrams_shortest=0", "encoder.ngrams_longest=0", "train.epochs=3")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    from xmc.privacy.privatise import privatise

    out = tmp_path_factory.mktemp("released") / "private"
    privatise("tiny", out, epsilon="1000", bag_size=4, clip=3, public=["test"])
    return out


def test_release_and_receipt(xmc_command, tmp_path):
    words = ("privatise", "--data", "tiny", "--epsilon", "1", "--bag-size", "4", "--out")
    code, out, _ = xmc_command(*words, tmp_path / "a")
    assert code == 0 and "400 queries in 100 bags of 4, 60 labels, epsilon 1" in out and "not user-level" in out
    code, out, _ = xmc_command(*words, tmp_path / "b", "--json")
    assert code == 0 and json.loads(out) == json.loads((tmp_path / "b" / "privacy.json").read_text(encoding="utf-8"))
    code, _, err = xmc_command(*words, tmp_path / "b")
    assert code == 2 and "not empty" in err


def test_it_trains_the_same_each_time_and_learns(released, tmp_path):
    reports = [
        train_run(released, tmp_path / name, plugin="aggregate", settings=(*SMALL, "train.batch_size=40"))
        for name in ("a", "b")
    ]
    curves = [(tmp_path / name / "curve.csv").read_text().splitlines()[1:] for name in ("a", "b")]
    losses = [[float(line.split(",")[2]) for line in curve] for curve in curves]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]
    assert reports[0]["plan"]["steps"] == 3 * 10


@pytest.mark.parametrize("setting", ["train.batch_size=3", "train.accumulate=2", "train.label_text_share=0.5"])
def test_what_would_cut_bags_is_refused(released, tmp_path, setting):
    with pytest.raises(ConfigError, match="in bags"):
        train_run(released, tmp_path / "run", plugin="aggregate", settings=(*SMALL, setting))
