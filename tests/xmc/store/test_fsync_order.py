"""Invariants: nothing is renamed before its bytes are forced to the disk, and nothing is named by `CURRENT` before its
folder is; a killed process cannot show this (the kernel still writes), a lost power supply would."""

import os
from pathlib import Path

import pytest

from xmc.store import VersionedFolder, atomic_writer, write_bytes


@pytest.fixture
def events(monkeypatch):
    """What was forced to the disk and what was renamed, in order."""
    seen: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def watched_fsync(descriptor):
        seen.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def watched(move):
        def moved(source, target):
            seen.append(("rename", f"{source} -> {target}"))
            move(source, target)

        return moved

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched(rename))
    monkeypatch.setattr(os, "replace", watched(replace))
    return seen


def test_a_file_is_forced_out_then_renamed_then_its_folder_is_forced_out(tmp_path, events):
    write_bytes(tmp_path / "a", b"x")
    (forced, temporary), (renamed, names), folder = events
    assert (forced, renamed) == ("fsync", "rename")
    assert names == f"{temporary} -> {tmp_path / 'a'}"
    assert folder == ("fsync", str(tmp_path))


def test_what_is_not_to_be_forced_is_renamed_all_the_same(tmp_path, events):
    with atomic_writer(tmp_path / "a", forced=False) as file:
        file.write(b"x")
    assert [kind for kind, _ in events] == ["rename"] and (tmp_path / "a").read_bytes() == b"x"


def test_a_version_is_forced_out_to_its_last_file_before_it_is_named(tmp_path, events):
    with VersionedFolder(tmp_path, kind="thing").new_version() as folder:
        (folder / "sub" / "deep").mkdir(parents=True)
        for name in ("a", "sub/b", "sub/deep/c"):
            (folder / name).write_text(name)
    version_named = events.index(("rename", f"{folder} -> {tmp_path / 'v000001'}"))
    forced_before = {path for event, path in events[:version_named] if event == "fsync"}
    written = ("", "a", "sub", "sub/b", "sub/deep", "sub/deep/c", "manifest.json")
    assert {str(folder / name) for name in written} <= forced_before
    current_named = next(n for n, (_, text) in enumerate(events) if text.endswith(f"-> {tmp_path / 'CURRENT'}"))
    between = events[version_named + 1 : current_named]
    assert between[0] == ("fsync", str(tmp_path)), "the version's new name, before CURRENT relies on it"
    assert between[-1][0] == "fsync", "the content of CURRENT"
    assert events[current_named + 1] == ("fsync", str(tmp_path))
