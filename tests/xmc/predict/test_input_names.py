"""Invariants: what cannot be written under the name of its shard is refused before anything is written; thousands of
names cost no more than each of them alone."""

import os

import pytest
from predict_cases import queries, require_complete, write_few

from xmc import predict_run
from xmc.data.shards import write_table
from xmc.errors import ConfigError
from xmc.predict.inputs import Inputs
from xmc.store.location import Location
from xmc.store.location_writer import write_text_at


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


def test_so_is_that_of_a_folder_which_only_a_store_can_have():
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    write_text_at(Location.of(f"memory://names/in/{'a' * 255}/b.parquet"), "")
    assert len(Inputs.of("memory://names/in", Location.of("out")).shards) == 1
    write_text_at(Location.of(f"memory://names/in/{'b' * 256}/b.parquet"), "")
    with pytest.raises(ConfigError, match=r"the name of its folder b+… is too long for one in .*/out: at most 255"):
        Inputs.of("memory://names/in", Location.of("out"))
    assert len(Inputs.of("memory://names/in", Location.of("memory://names/out")).shards) == 2


def test_an_output_that_would_be_the_folder_of_another_is_refused(tiny_run, tmp_path):
    folder = write_few(tmp_path / "in")
    write_few(folder / "day.parquet", ["part-0"])
    write_table(folder / "day.arrow", queries(5))
    with pytest.raises(ConfigError, match=r"day\.arrow would write .*day\.parquet, which is to be the folder of"):
        predict_run(tiny_run, str(folder), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_many_names_are_each_looked_at_once(tmp_path, monkeypatch):
    """Each against each would take hours for ten thousand files."""
    files = [str(path) for path in write_few(tmp_path / "in", map(str, range(40)), rows=1).iterdir()]
    folders = [str(write_few(tmp_path / f"day-{number}", [f"of-{number}"], rows=1)) for number in range(10)]
    followed, follow = [], os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path, **options: followed.append(path) or follow(path, **options))
    assert len(Inputs.of([*files, *folders], Location.of(tmp_path / "out")).shards) == 50
    assert len(followed) <= 2 * 50 + 10
