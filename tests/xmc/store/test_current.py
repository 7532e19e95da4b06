"""Invariants: a pointer or a version that is not exactly what was committed is refused, with an error that names it."""

import json
import os

import pytest
from version_cases import commit, entries, read

from xmc.errors import ArtifactError
from xmc.store import VersionedFolder
from xmc.store.manifest import MANIFEST_NAME
from xmc.store.versions import CURRENT_NAME


@pytest.fixture
def store(tmp_path):
    return VersionedFolder(tmp_path / "thing", kind="thing")


REPEATED = object()  # the content as it was, with a space at its end


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"3",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"version": "v000001"}).encode(),
        json.dumps({"version": "../thing", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "/etc", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "v٣", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "v000001/sub", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "v000001\n", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "v000009", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "v000001", "manifest_sha256": "0"}).encode(),
        json.dumps({"version": "v000001", "manifest_sha256": None}).encode(),
        REPEATED,
    ],
)
def test_a_damaged_current_is_refused(store, data):
    commit(store, "a")
    path = store.root / CURRENT_NAME
    path.write_bytes(path.read_bytes() + b" " if data is REPEATED else data)
    with pytest.raises(ArtifactError, match="thing/"):
        store.current()
    store.remove_orphans()
    assert "v000001" in entries(store)


@pytest.mark.parametrize("replace", ["link", "folder", "pipe"])
def test_a_current_that_is_no_plain_file_is_refused(store, replace):
    commit(store, "a")
    path = store.root / CURRENT_NAME
    path.rename(store.root / "elsewhere")
    if replace == "link":
        path.symlink_to(store.root / "elsewhere")
    elif replace == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(ArtifactError, match="CURRENT"):
        store.current()


@pytest.mark.parametrize("name", [CURRENT_NAME, f"v000001/{MANIFEST_NAME}"])
def test_of_a_file_that_grew_beyond_measure_only_the_beginning_is_read(store, name):
    commit(store, "a")
    os.truncate(store.root / name, 1 << 42)  # takes no room on the disk, and more memory than there is
    with pytest.raises(ArtifactError, match=name):
        store.current()


def test_a_version_that_is_a_link_is_refused(store):
    commit(store, "a")
    (store.root / "v000001").rename(store.root / "elsewhere")
    (store.root / "v000001").symlink_to(store.root / "elsewhere")
    with pytest.raises(ArtifactError, match="v000001"):
        store.current()


def test_files_and_manifests_swapped_between_two_versions_are_refused(store):
    commit(store, "a")
    commit(store, "b")
    first, second = store.root / "v000001", store.root / "v000002"
    for name in ("sub/a.txt", "b.txt", "manifest.json", "."):
        _swap(first / name, second / name)
        with pytest.raises(ArtifactError, match="v000002"):
            store.current()
        _swap(first / name, second / name)
    assert read(store) == "b"


def _swap(one, other):
    aside = one.resolve().with_name("aside")
    one.resolve().rename(aside)
    other.resolve().rename(one.resolve())
    aside.rename(other.resolve())
