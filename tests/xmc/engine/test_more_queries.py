"""Invariants: with too few held-out queries the advice names a share with which the check runs; it says nothing where
the share is not the reason."""

import re
import shutil

import pytest

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import label_table_to_arrow, query_table_to_arrow
from xmc.errors import DataError

QUICK = ["encoder.dimension=32", "train.epochs=1", "train.batch_size=64", "train.learning_rate=0.02"]
CHECK = ["check.calibrate.bootstrap_samples=0"]


@pytest.mark.slow
def test_the_share_that_is_named_is_enough(tmp_path):
    data = load_dataset("tiny")
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data" / "labels.parquet", label_table_to_arrow(data.labels))
    write_table(tmp_path / "data" / "train.parquet", query_table_to_arrow(data.train))
    xmc.train_run(tmp_path / "data", tmp_path / "few", settings=QUICK)
    with pytest.raises(
        DataError, match=r"train\.validation_share = 0\.05; .* is enough, and means training again"
    ) as few:
        xmc.check_run(tmp_path / "few", ["calibrate"], split="dev", settings=CHECK)
    share = re.search(r"= 0\.05; (0\.\d+) is enough", few.value.hint)[1]
    shutil.rmtree(tmp_path / "few")
    xmc.train_run(tmp_path / "data", tmp_path / "more", settings=[*QUICK, f"train.validation_share={share}"])
    xmc.check_run(tmp_path / "more", ["calibrate"], split="dev", settings=CHECK)
    assert xmc.Retriever.load(tmp_path / "more").fitted.calibration is not None


def test_a_dev_split_of_the_data_set_gets_no_share(tiny_run):
    with pytest.raises(DataError) as refused:
        xmc.check_run(tiny_run, ["conformal"], settings=["check.conformal.alpha=0.001"])
    assert "validation_share" not in str(refused.value)
