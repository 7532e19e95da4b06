"""Invariants: an index that was named with settings is what a plain `xmc index` builds again; others change nothing."""

import errno
import json
import tomllib

import pytest

import xmc
from xmc.engine import run_config
from xmc.errors import ArtifactError, ConfigError
from xmc.retrieve.layout import index_store
from xmc.store.atomic import TEMPORARY_PREFIX, temporary_name


def index_facts(run):
    return json.loads((index_store(run).current().folder / "index.json").read_text())


def config(run):
    return tomllib.loads((run / "config.toml").read_text())


def test_a_named_index_is_kept_in_the_run_and_built_again(tiny_run_copy):
    before = config(tiny_run_copy)
    xmc.index_run(tiny_run_copy, settings=["index.name=faiss.hnsw", "index.M=8"], device="cpu")
    assert config(tiny_run_copy) == {**before, "index": config(tiny_run_copy)["index"]}
    assert config(tiny_run_copy)["index"]["name"] == "faiss.hnsw"
    named = index_facts(tiny_run_copy)
    xmc.index_run(tiny_run_copy, device="cpu")
    again = index_facts(tiny_run_copy)
    assert (again["name"], again["options"]) == (named["name"], named["options"]) and again["options"]["M"] == 8
    xmc.index_run(tiny_run_copy, settings=["index.M=9"], device="cpu")
    assert config(tiny_run_copy)["index"]["M"] == 9


def test_a_disk_that_refuses_the_files_beside_a_new_index_is_told_with_what_stays(tiny_run_copy, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "could not write: No space left on device", str(path))

    said = r"new index of .* is committed and in use.*config\.toml: .* No space left.* same options again: xmc index"
    with monkeypatch.context() as patched, pytest.raises(ArtifactError, match=said):
        patched.setattr(run_config, "write_text", full)
        xmc.index_run(tiny_run_copy, settings=["index.name=faiss.hnsw", "index.M=8"], device="cpu")
    assert index_facts(tiny_run_copy)["name"] == "faiss.hnsw" and config(tiny_run_copy)["index"]["name"] == "exact"
    (tiny_run_copy / "plugins.json").unlink()
    (tiny_run_copy / "plugins.json").mkdir()
    with pytest.raises(ArtifactError, match=r"new index of .*plugins\.json: .*Is a directory"):
        xmc.index_run(tiny_run_copy, device="cpu")
    assert index_facts(tiny_run_copy)["name"] == "exact"


def test_what_killed_writers_left_of_the_same_files_goes(tiny_run_copy):
    for name in ("config.toml", "plugins.json", "README.md"):
        (tiny_run_copy / temporary_name(name)).write_text("half")
    xmc.index_run(tiny_run_copy, settings=["index.name=exact"], device="cpu")
    assert not list(tiny_run_copy.glob(f"{TEMPORARY_PREFIX}*"))


@pytest.mark.parametrize("setting", ["train.epochs=4", "encoder.dimension=8", "data.train_queries=3"])
def test_a_setting_that_an_index_does_not_depend_on_is_refused(tiny_run, setting):
    before = index_store(tiny_run).current_sha256()
    with pytest.raises(
        ConfigError, match=rf"xmc index takes settings of \[index\], \[labels\] .* got {setting.split('=')[0]}\."
    ):
        xmc.index_run(tiny_run, settings=[setting, "index.name=faiss.hnsw"])
    assert index_store(tiny_run).current_sha256() == before


def test_a_refused_index_is_not_kept(tiny_run_copy):
    before = (tiny_run_copy / "config.toml").read_bytes()
    with pytest.raises(ConfigError):
        xmc.index_run(tiny_run_copy, settings=["index.name=faiss.factory", "index.description=nonsense"], device="cpu")
    assert (tiny_run_copy / "config.toml").read_bytes() == before
