"""Invariants: the folder is there whole with its manifest or not at all; what a killed writer left goes, what a living
one fills stays."""

import signal
import subprocess
import sys

import pytest

from xmc.errors import ConfigError
from xmc.store import new_folder, replaced_folder, verify_folder
from xmc.store.new_folder import require_new

WRITER = """
import pathlib, sys
from xmc.store import new_folder
with new_folder(pathlib.Path(sys.argv[1]), kind="thing") as folder:
    (folder / "a.txt").write_text("half")
    print("filling", flush=True)
    sys.stdin.read()
    (folder / "b.txt").write_text("whole")
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path):
    with new_folder(path, kind="thing", facts={"step": 3}) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text("hello")


def start_writer(path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "filling\n"
    return writer


@pytest.mark.parametrize("prepared", [False, True])
def test_it_appears_whole_with_its_manifest(tmp_path, prepared):
    out = tmp_path / "deeper" / "out"
    if prepared:
        out.mkdir(parents=True)
    write(out)
    manifest = verify_folder(out, kind="thing")
    assert list(manifest.files) == ["deep/a.txt"] and manifest.facts == {"step": 3}
    assert names(out.parent) == ["out"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), new_folder(tmp_path / "out", kind="thing") as folder:
        (folder / "a.txt").write_text("half")
        raise ValueError("no")
    assert names(tmp_path) == []


def test_what_is_there_is_refused(tmp_path):
    write(tmp_path / "out")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, reason in (("out", "not empty"), ("file", "is a file"), ("link", "is a file or a link")):
        with pytest.raises(ConfigError, match=reason):
            require_new(tmp_path / name)
        with pytest.raises(ConfigError, match=reason):
            write(tmp_path / name)


def test_what_came_there_meanwhile_is_not_replaced(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(OSError, match="out"), new_folder(out, kind="thing"):
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    assert names(tmp_path) == ["out"] and names(out) == ["mine.txt"]


def test_a_killed_writer_leaves_no_folder_and_the_next_one_clears_up(tmp_path):
    writer = start_writer(tmp_path / "out")
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    (left,) = names(tmp_path)
    assert left.startswith(".tmp-")
    write(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_a_folder_that_another_process_fills_is_left_alone(tmp_path):
    writer = start_writer(tmp_path / "out")
    with pytest.raises(ValueError, match="stop"), new_folder(tmp_path / "out", kind="thing"):
        raise ValueError("stop")
    writer.communicate(input="")
    assert writer.returncode == 0
    assert sorted(verify_folder(tmp_path / "out", kind="thing").files) == ["a.txt", "b.txt"]


@pytest.fixture
def old_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("old")
    return tmp_path / "out"


@pytest.mark.parametrize("system_exchanges", [True, False])
def test_a_folder_is_replaced_and_nothing_else_stays(old_folder, monkeypatch, system_exchanges):
    if not system_exchanges:
        monkeypatch.setattr("ctypes.CDLL", lambda name: None)
    with replaced_folder(old_folder) as folder:
        (folder / "b.txt").write_text("new")
        assert names(old_folder) == ["a.txt"]
    assert names(old_folder) == ["b.txt"]
    assert names(old_folder.parent) == ["out"]


def test_of_a_link_to_a_folder_the_folder_is_replaced(old_folder):
    link = old_folder.parent / "link"
    link.symlink_to(old_folder)
    with replaced_folder(link) as folder:
        (folder / "b.txt").write_text("new")
    assert names(old_folder) == ["b.txt"]
    assert names(old_folder.parent) == ["link", "out"] and link.is_symlink()


def test_an_error_while_filling_leaves_the_old_folder(old_folder):
    with pytest.raises(ValueError, match="no"), replaced_folder(old_folder):
        raise ValueError("no")
    assert names(old_folder) == ["a.txt"]
    assert names(old_folder.parent) == ["out"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(old_folder, monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: None)
    rename = type(old_folder).rename

    def refuse_new(self, target):
        if target == old_folder and "before" not in self.name:
            raise OSError(13, "no permission", str(target))
        return rename(self, target)

    monkeypatch.setattr(type(old_folder), "rename", refuse_new)
    with pytest.raises(OSError, match="no permission"), replaced_folder(old_folder) as folder:
        (folder / "b.txt").write_text("new")
    assert names(old_folder) == ["a.txt"]
    assert names(old_folder.parent) == ["out"]
