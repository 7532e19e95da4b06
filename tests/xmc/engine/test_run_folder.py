"""Invariants: nothing of somebody else's is touched; a run is only replaced or continued when that was asked for."""

import pytest

from xmc.engine.run_config import resolve
from xmc.engine.run_folder import check_folder, prepare_folder
from xmc.engine.training import run_training
from xmc.errors import ConfigError
from xmc.plugin_manager import load_plugins


def contents(folder):
    return {path.relative_to(folder): path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, r"is not empty\. Use --resume to go on, --overwrite to start anew, or another --out\."),
        ({"overwrite": True}, r"is not a run folder \(it has no config\.toml\): it is not overwritten"),
        ({"resume": True}, r"is not a run folder \(it has no config\.toml\): it is not continued"),
        ({"resume": True, "overwrite": True}, "give only one of them"),
    ],
)
def test_a_folder_with_something_in_it_is_refused_and_stays_as_it_was(tmp_path, flags, message):
    (tmp_path / "thesis.txt").write_text("years of work")
    plugins = load_plugins()
    config = resolve(plugins, plugin="dexml", settings=["data.name=tiny"])
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=message):
        run_training(config, tmp_path, plugins=plugins, **flags)
    assert contents(tmp_path) == before


def test_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match="is a file; a run is a folder"):
        check_folder(tmp_path / "run", resume=False, overwrite=False)


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_a_new_or_empty_folder_is_fine(tmp_path, flags):
    flags = {"resume": False, "overwrite": False, **flags}
    check_folder(tmp_path / "new", **flags)
    (tmp_path / ".lock").touch()
    (tmp_path / ".tmp-0123456789ab-config.toml").write_text("left by a killed writer")
    prepare_folder(tmp_path, **flags)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_overwriting_empties_a_run_and_resuming_keeps_it(tmp_path):
    (tmp_path / "config.toml").touch()
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "a").touch()
    prepare_folder(tmp_path, resume=True, overwrite=False)
    assert (tmp_path / "encoder" / "a").exists()
    prepare_folder(tmp_path, resume=False, overwrite=True)
    assert not contents(tmp_path)
