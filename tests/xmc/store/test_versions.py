"""Invariants: `current()` is the last committed version, whole and verified; a failed write changes nothing."""

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest
from version_cases import commit, entries, read

from xmc.errors import ArtifactError, ConfigError, LockedError
from xmc.store import VersionedFolder
from xmc.store.atomic import TEMPORARY_PREFIX, temporary_name
from xmc.store.versions import CURRENT_NAME


@pytest.fixture
def store(tmp_path):
    return VersionedFolder(tmp_path / "thing", kind="thing")


def test_nothing_committed(store):
    assert not store.exists()
    with pytest.raises(ArtifactError, match=r"holds no committed thing.*did the command that makes it finish"):
        store.current()


def test_versions_follow_each_other_and_old_ones_go(store):
    for number, text in enumerate("abcd", start=1):
        commit(store, text)
        assert store.exists()
        assert read(store) == text
        kept = [f"v{n:06d}" for n in range(max(1, number - 1), number + 1)]
        assert entries(store) == [".lock", CURRENT_NAME, *kept]
    commit(store, "e", keep=1)
    assert entries(store) == [".lock", CURRENT_NAME, "v000005"]


def test_earlier_versions_stay_while_they_have_room(store):
    def size(folder):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    for text in ("a", "b", "c" * 1000):
        commit(store, text, keep=9)
    assert store.names() == ["v000001", "v000002", "v000003"]
    room = size(store.root / "v000002") + size(store.root / "v000003")
    assert [store.version(name).manifest.facts["text"][0] for name in store.names()] == ["a", "b", "c"]
    with store.new_version(keep=9, keep_bytes=room) as folder:
        (folder / "a").write_text("d" * 5000)  # the new one itself does not count
    assert store.names() == ["v000002", "v000003", "v000004"]
    for keep_bytes in (room, 0):
        with store.new_version(keep=9, keep_bytes=keep_bytes) as folder:
            (folder / "a").write_text("e")
    assert store.names() == ["v000005", "v000006"]
    with store.new_version(keep=1, keep_bytes=room) as folder:
        (folder / "a").write_text("e")
    assert store.names() == ["v000007"]


@pytest.mark.parametrize("linked", [True, False])
def test_a_version_that_is_repeated_takes_no_room_where_there_are_links(store, monkeypatch, linked):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    commit(store, "one")
    before = store.current()
    monkeypatch.setattr(os, "link", os.link if linked else refuse)
    store.repeat()
    assert store.names() == ["v000001", "v000002"] and store.current().sha256 == before.sha256
    files = [store.root / name / "sub" / "a.txt" for name in store.names()]
    assert files[0].samefile(files[1]) == linked
    commit(store, "two")
    assert store.names() == ["v000002", "v000003"]
    assert store.version("v000002").manifest == before.manifest


def test_a_path_that_libraries_cannot_open_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\\udcff/index': its name is not UTF-8"):
        VersionedFolder(tmp_path / "\udcff" / "index", kind="index")


def test_what_was_never_committed_is_no_name(store):
    with pytest.raises(ArtifactError, match="holds no committed thing"):
        store.names()
    commit(store, "a")
    shutil.copytree(store.root / "v000001", store.root / "v000002")
    assert store.names() == ["v000001"]
    (store.root / "v000001" / "b.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"b\.txt is damaged"):
        store.version("v000001")


def test_an_older_version_is_not_touched_by_a_newer_one(store):
    commit(store, "a")
    first = store.current().folder
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in first.rglob("*") if p.is_file()}
    commit(store, "b")
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before


@pytest.mark.parametrize("error", [ValueError("x"), OSError(28, "full"), KeyboardInterrupt()])
def test_an_error_in_the_block_changes_nothing(store, error):
    commit(store, "a")
    before = entries(store)
    with pytest.raises(type(error)), store.new_version() as folder:
        (folder / "a.txt").write_text("half")
        raise error
    assert read(store) == "a"
    assert entries(store) == before


@pytest.mark.parametrize("step", ["fsync_folder", "write_bytes"])
def test_an_error_after_the_rename_leaves_no_uncommitted_version(store, monkeypatch, step):
    commit(store, "a")
    before = entries(store)

    def fail(path, *rest):
        if path in (store.root, store.root / CURRENT_NAME):
            raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(f"xmc.store.versions.{step}", fail)
    with pytest.raises(OSError, match="No space left"):
        commit(store, "b")
    monkeypatch.undo()
    assert read(store) == "a"
    assert entries(store) == before


def test_an_error_after_the_commit_keeps_the_new_version(store, monkeypatch):
    commit(store, "a")

    def fail(path):
        if (store.root / "v000002").exists() and "v000002" in (store.root / CURRENT_NAME).read_text():
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("xmc.store.atomic.fsync_folder", fail)
    with pytest.raises(OSError, match="Input/output error"):
        commit(store, "b")
    monkeypatch.undo()
    assert read(store) == "b"


def test_orphans_of_a_killed_writer_are_removed_by_the_next(store):
    commit(store, "a")
    (store.root / temporary_name("version")).mkdir()
    (store.root / temporary_name(CURRENT_NAME)).write_text("half")
    shutil.copytree(store.root / "v000001", store.root / "v000002")  # renamed, but never named by CURRENT
    commit(store, "b")
    assert read(store) == "b"
    assert entries(store) == [".lock", CURRENT_NAME, "v000001", "v000002"]


def test_an_uncommitted_version_does_not_push_out_the_committed_one(store):
    commit(store, "a")
    shutil.copytree(store.root / "v000001", store.root / "v000002")
    store.remove_orphans()
    assert entries(store) == [".lock", CURRENT_NAME, "v000001"]
    assert read(store) == "a"


def test_the_orphan_of_a_first_version_does_not_count_as_committed(store):
    commit(store, "a")
    (store.root / CURRENT_NAME).unlink()
    assert not store.exists() and not store.is_empty()
    commit(store, "b")
    assert read(store) == "b"
    assert entries(store) == [".lock", CURRENT_NAME, "v000001"]


@pytest.mark.parametrize("kept", [["v000002"], ["v000001", "v000002"]])
def test_versions_without_current_are_damage_and_are_kept(store, kept):
    for text in "ab":
        commit(store, text, keep=len(kept))
    (store.root / CURRENT_NAME).unlink()
    assert store.exists()
    store.remove_orphans()
    assert entries(store) == [".lock", *kept]
    with pytest.raises(ArtifactError, match="CURRENT is damaged: it is missing, though versions are there"):
        store.current()
    commit(store, "c")
    assert read(store) == "c"


@pytest.mark.parametrize("kind", ["file", "pipe", "link to nothing"])
def test_what_is_no_folder_is_damage_and_not_a_store_without_versions(store, kind):
    makers = {"file": Path.touch, "pipe": os.mkfifo, "link to nothing": lambda path: path.symlink_to("not-mounted")}
    makers[kind](store.root)
    assert store.exists()
    for look in (store.current, store.current_sha256):
        with pytest.raises(ArtifactError, match="no folder"):
            look()


def test_remove_orphans_of_a_folder_that_is_not_there_makes_none(store):
    store.remove_orphans()
    assert not store.root.exists()


def test_a_second_writer_is_refused(store):
    with store.new_version() as folder:
        (folder / "a").write_text("x")
        with pytest.raises(LockedError):
            commit(store, "b")
        with pytest.raises(LockedError):
            store.remove_orphans()
    assert (store.current().folder / "a").read_text() == "x"


def test_a_reader_beside_a_writer_always_reads_a_whole_version(store):
    commit(store, "start", keep=1)
    done = threading.Event()
    errors, seen = [], []

    def keep_reading():
        while not done.is_set():
            try:
                seen.append(store.current().manifest.facts["text"])
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=keep_reading)
    reader.start()
    for number in range(40):
        commit(store, f"n{number:02d}", keep=1)
    done.set()
    reader.join()
    assert not errors
    assert seen
    assert seen == sorted(seen, key=lambda text: (text != "start", text))  # never back to an older one


@pytest.mark.parametrize("fails", [True, False])
def test_a_version_that_is_removed_while_it_is_parsed_is_parsed_anew(store, fails):
    """Also where its parser takes a file that is gone for one that was never there."""
    commit(store, "old", keep=1)
    seen = []

    def parse(version):
        seen.append(version.manifest.facts["text"])
        if len(seen) == 1:
            commit(store, "new", keep=1)
        return [path.name for path in (version.folder.iterdir() if fails else version.folder.glob("*"))]

    assert "manifest.json" in store.parse_current(parse)
    assert seen == ["old", "new"]
    with pytest.raises(ZeroDivisionError):
        store.parse_current(lambda version: 1 / 0)


def test_a_version_whose_name_another_takes_while_it_is_parsed_is_parsed_anew(store, tmp_path):
    commit(store, "old")
    other = VersionedFolder(tmp_path / "other", kind=store.kind)
    commit(other, "new")
    seen = []

    def parse(version):
        seen.append(version.manifest.facts["text"])
        if len(seen) == 1:
            shutil.rmtree(store.root)
            other.root.rename(store.root)
        return version.folder.name

    assert store.parse_current(parse) == "v000001"
    assert seen == ["old", "new"]


def test_only_files_that_are_named_are_read(store):
    commit(store, "one")
    current = store.root / "v000001"
    (current / "b.txt").write_text("twotwo")
    assert store.current(only=("sub/a.txt",)).manifest.facts == {"text": "one"}
    for only in (None, ("b.txt",)):
        with pytest.raises(ArtifactError, match=r"b\.txt is damaged: its SHA-256"):
            store.current(only=only)
    (current / "b.txt").write_text("one")
    with pytest.raises(ArtifactError, match=r"b\.txt is damaged: it has 3 bytes"):
        store.current(only=())


def test_the_identity_is_read_without_verifying(store):
    assert store.current_sha256() == ""
    commit(store, "a")
    first = store.current_sha256()
    assert first == store.current().sha256
    commit(store, "b")
    assert store.current_sha256() == store.current().sha256 != first
    (store.root / "CURRENT").write_text("{}")
    with pytest.raises(ArtifactError, match="CURRENT"):
        store.current_sha256()


def test_names_that_only_look_like_versions_are_left_alone(store):
    for name in ("v1", "v00001²", "version", "vv000001"):
        (store.root / name).mkdir(parents=True)
    commit(store, "a")
    commit(store, "b", keep=1)
    assert read(store) == "b"
    assert {"v1", "v00001²", "version", "vv000001"} < set(entries(store))


def test_no_temporary_file_is_left(store):
    for text in "abc":
        commit(store, text)
    assert not [path for path in store.root.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]
