"""Invariants: exactly the committed bytes pass; everything else is an ArtifactError that names the file."""

import hashlib
import json
import os

import pytest

from xmc.errors import ArtifactError
from xmc.store import build_manifest, verify_folder
from xmc.store.manifest import MANIFEST_NAME


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "thing"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"alpha")
    (root / "sub" / "b.bin").write_bytes(bytes(range(256)))
    (root / "empty").write_bytes(b"")
    build_manifest(root, kind="thing", facts={"step": 3})
    return root


def test_the_manifest_lists_every_file_with_size_and_hash(folder):
    manifest = verify_folder(folder, kind="thing")
    oracle = {
        "a.txt": (5, hashlib.sha256(b"alpha").hexdigest()),
        "sub/b.bin": (256, hashlib.sha256(bytes(range(256))).hexdigest()),
        "empty": (0, hashlib.sha256(b"").hexdigest()),
    }
    assert manifest.files == oracle
    assert manifest.facts == {"step": 3}


def test_equal_folders_have_equal_manifests(folder, tmp_path):
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    for name in ("sub/b.bin", "empty", "a.txt"):
        (other / name).write_bytes((folder / name).read_bytes())
    digest = build_manifest(other, kind="thing", facts={"step": 3})
    assert (other / MANIFEST_NAME).read_bytes() == (folder / MANIFEST_NAME).read_bytes()
    assert digest == hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()


def _remove(folder):
    (folder / "a.txt").unlink()
    return "a.txt"


def _add(folder):
    (folder / "sub" / "extra").write_text("x")
    return "sub/extra"


def _flip(folder):
    (folder / "sub" / "b.bin").write_bytes(bytes(range(255)) + b"\0")
    return "sub/b.bin"


def _shorten(folder):
    os.truncate(folder / "sub" / "b.bin", 255)
    return "sub/b.bin"


def _link_file(folder):
    (folder / "a.txt").rename(folder.parent / "a.txt")
    (folder / "a.txt").symlink_to(folder.parent / "a.txt")
    return "a.txt"


def _link_folder(folder):
    (folder / "sub").rename(folder.parent / "sub")
    (folder / "sub").symlink_to(folder.parent / "sub")
    return "sub"


def _link_nowhere(folder):
    (folder / "empty").unlink()
    (folder / "empty").symlink_to(folder / "nothing")
    return "empty"


def _pipe(folder):
    (folder / "a.txt").unlink()
    os.mkfifo(folder / "a.txt")
    return "a.txt"


def _folder_for_file(folder):
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    return "a.txt"


def _manifest_gone(folder):
    (folder / MANIFEST_NAME).unlink()
    return MANIFEST_NAME


def _manifest_link(folder):
    (folder / MANIFEST_NAME).rename(folder.parent / MANIFEST_NAME)
    (folder / MANIFEST_NAME).symlink_to(folder.parent / MANIFEST_NAME)
    return MANIFEST_NAME


DAMAGES = [
    _remove,
    _add,
    _flip,
    _shorten,
    _link_file,
    _link_folder,
    _link_nowhere,
    _pipe,
    _folder_for_file,
    _manifest_gone,
    _manifest_link,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_refused_and_named(folder, damage):
    name = damage(folder)
    with pytest.raises(ArtifactError) as caught:
        verify_folder(folder, kind="thing")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 2}',
        b'{"format": 1}',
        b'{"format": 1, "kind": "thing", "facts": 3, "files": {}}',
        b'{"format": 1, "kind": "thing", "facts": {}, "files": []}',
        b'{"format": 1, "kind": "thing", "facts": {}, "files": {"a.txt": 1}}',
        b'{"format": 1, "kind": "thing", "facts": {}, "files": {"a.txt": {"bytes": "x", "sha256": 1}}}',
        b'{"format": 1, "kind": "thing", "facts": {}, "files": {"a.txt": {"bytes": 1e999, "sha256": "x"}}}',
        b'{"format": 1, "kind": "thing", "facts": {}, "files": {"../a.txt": {"bytes": 1, "sha256": "x"}}}',
        b'{"format": 1, "kind": "other", "facts": {}, "files": {}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_manifest_is_refused(folder, data):
    (folder / MANIFEST_NAME).write_bytes(data)
    with pytest.raises(ArtifactError, match="thing"):
        verify_folder(folder, kind="thing")


def test_a_manifest_that_was_rewritten_to_fit_is_refused_by_its_own_hash(folder):
    digest = hashlib.sha256((folder / MANIFEST_NAME).read_bytes()).hexdigest()
    verify_folder(folder, kind="thing", manifest_sha256=digest)
    (folder / "a.txt").write_bytes(b"other")
    build_manifest_again(folder)
    verify_folder(folder, kind="thing")  # by itself it is consistent
    with pytest.raises(ArtifactError, match=MANIFEST_NAME):
        verify_folder(folder, kind="thing", manifest_sha256=digest)


def build_manifest_again(folder):
    (folder / MANIFEST_NAME).unlink()
    build_manifest(folder, kind="thing", facts={"step": 3})


def test_the_format_number_is_checked_with_advice(folder):
    body = json.loads((folder / MANIFEST_NAME).read_text())
    (folder / MANIFEST_NAME).write_text(json.dumps({**body, "format": 7}))
    with pytest.raises(ArtifactError, match=r"format 7, this xmc reads format 1\. .*wrote it"):
        verify_folder(folder, kind="thing")


def test_another_kind_is_refused(folder):
    with pytest.raises(ArtifactError, match="holds a 'thing', expected a 'index'"):
        verify_folder(folder, kind="index")
