"""Invariant: what cannot be written under the name of its shard is refused before anything is written."""

import pytest
from predict_cases import queries, require_complete, write_few

from xmc import predict_run
from xmc.data.shards import write_table
from xmc.errors import ConfigError


@pytest.mark.parametrize("letter", ["a", "ü"])
def test_a_name_that_is_too_long_is_refused_at_the_start(tiny_run, tmp_path, letter):
    longest = letter * ((232 - len(".parquet")) // len(letter.encode()))  # 255 with ".tmp-", 12 digits, "-" and ".json"
    folder = write_few(tmp_path / "in", [longest, "b"])
    predict_run(tiny_run, str(folder), tmp_path / "out", workers=1)
    assert len(require_complete(tmp_path / "out")) == 2
    (folder / f"{longest}.parquet").rename(folder / f"{longest}{letter}.parquet")
    with pytest.raises(ConfigError, match=r"its name is too long: that of its hits would have 23[34] bytes"):
        predict_run(tiny_run, str(folder), tmp_path / "refused", workers=1)
    assert not (tmp_path / "refused").exists()


def test_an_output_that_would_be_the_folder_of_another_is_refused(tiny_run, tmp_path):
    folder = write_few(tmp_path / "in")
    write_few(folder / "day.parquet", ["part-0"])
    write_table(folder / "day.arrow", queries(5))
    with pytest.raises(ConfigError, match=r"day\.arrow would write .*day\.parquet, which is to be the folder of"):
        predict_run(tiny_run, str(folder), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
