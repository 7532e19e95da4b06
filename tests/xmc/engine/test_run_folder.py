"""Invariants: nothing of somebody else's is touched; a run is only replaced or continued when that was asked for."""

import pytest

from xmc.engine.run_config import resolve
from xmc.engine.run_folder import check_folder, prepare_folder, remove_run
from xmc.engine.training import run_training
from xmc.engine.whole_run import make_run
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


@pytest.mark.parametrize("recipe", ["dexml", "linear.fused"])
@pytest.mark.parametrize("held", ["thesis.txt", ".lock"])
def test_a_folder_is_refused_before_the_data_are_read(tmp_path, recipe, held):
    for name in {held, "config.toml"}:
        (tmp_path / name).touch()
    plugins = load_plugins()
    config = resolve(plugins, plugin=recipe, settings=["data.name=nowhere"])
    with pytest.raises(ConfigError, match="is not empty"):
        make_run(config, tmp_path, plugins=plugins)


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


@pytest.fixture
def run(tmp_path):
    """As much of a run as is looked at."""
    plugins = load_plugins()
    config = resolve(plugins, plugin="dexml", settings=["data.name=tiny"])
    (tmp_path / "run" / "encoder").mkdir(parents=True)
    for name in ("a", ".lock"):
        (tmp_path / "run" / "encoder" / name).touch()
    config.write(tmp_path / "run")
    return tmp_path / "run"


def test_a_run_stays_while_it_is_continued_or_overwritten(run):
    before = contents(run)
    assert prepare_folder(run, resume=True, overwrite=False) == run
    assert contents(run) == before
    work = prepare_folder(run, resume=False, overwrite=True)
    assert work.parent == run
    assert contents(run) == {**before, work.relative_to(run): True}
    (work / "begun").touch()
    assert prepare_folder(run, resume=True, overwrite=False) == work
    assert (work / "begun").exists()
    assert prepare_folder(run, resume=False, overwrite=True) == work
    assert not contents(work)


@pytest.mark.parametrize("name", ["notes.txt", "src/main.py", ".git/HEAD"])
def test_a_run_with_files_of_others_is_not_overwritten(run, name):
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("by hand")
    before = contents(run)
    with pytest.raises(ConfigError, match=rf"holds {name.split('/')[0]}, which no command of xmc wrote"):
        prepare_folder(run, resume=False, overwrite=True)
    with pytest.raises(ConfigError, match="which no command of xmc wrote"):
        remove_run(run)
    assert contents(run) == before
    prepare_folder(run, resume=True, overwrite=False)


@pytest.mark.parametrize("text", ["", "[project]\nname = 'mine'\n", "not TOML"])
@pytest.mark.parametrize("flags", [{"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}])
def test_a_folder_with_another_configuration_is_no_run(tmp_path, text, flags):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"is not a run folder \(its config\.toml is not that of a run\)"):
        prepare_folder(tmp_path, **flags)
    assert (tmp_path / "config.toml").read_text() == text


def test_a_run_that_is_in_the_way_is_removed(run):
    remove_run(run)
    assert not run.exists()
    remove_run(run)
