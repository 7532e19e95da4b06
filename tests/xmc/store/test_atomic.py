"""Invariants: a reader sees all of the old or all of the new content; an error names the path and leaves nothing."""

import errno
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.store import atomic_writer, remove_temporaries, sha256_of, write_bytes, write_json, write_text
from xmc.store.atomic import disk_errors_name, temporary_name


@given(old=st.binary(max_size=64), new=st.binary(max_size=64))
def test_write_bytes_replaces_the_whole_content(tmp_path_factory, old, new):
    path = tmp_path_factory.mktemp("atomic") / "a.bin"
    for content in (old, new):
        write_bytes(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


def test_write_text_is_utf8(tmp_path):
    write_text(tmp_path / "a.txt", "søker Σ 查询\n")
    assert (tmp_path / "a.txt").read_bytes() == "søker Σ 查询\n".encode()


def test_write_json_reads_back(tmp_path):
    value = {"a": [1, 2.5, None, True], "Σ": "é"}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
    assert "Σ" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_write_json_refuses_numbers_that_json_has_not(tmp_path, bad):
    write_json(tmp_path / "a.json", {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": bad})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": 1.0}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_error_in_the_block_leaves_the_old_content_and_no_temporary_file(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_writer(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_reader_sees_the_old_content_until_the_block_ends(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_writer(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_what_a_killed_writer_left_goes_with_the_next_write_of_the_same_file(tmp_path):
    others = [temporary_name("other.bin"), temporary_name("x-a.bin"), ".tmp-a.bin"]
    for name in (temporary_name("a.bin"), temporary_name("a.bin"), *others):
        (tmp_path / name).write_bytes(b"half")
    write_bytes(tmp_path / "a.bin", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", *others}
    with atomic_writer(tmp_path / "other.bin", collect=False) as file:
        file.write(b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "other.bin", *others}


def test_a_writer_leaves_the_temporary_file_of_a_living_one_alone(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_writer(path) as slow:
        slow.write(b"slow")
        slow.flush()
        write_bytes(path, b"quick")
        assert path.read_bytes() == b"quick"
    assert path.read_bytes() == b"slow"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    """Each takes the temporary files of dead writers away, while others are just making theirs."""
    contents = [bytes([number]) * 1000 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_bytes(tmp_path / "a.bin", content), contents))
    assert (tmp_path / "a.bin").read_bytes() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch, refusal):
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(refusal, "no locks here")

    left = tmp_path / temporary_name("a.bin")
    left.write_bytes(b"half")
    monkeypatch.setattr("xmc.store.atomic.fcntl.flock", no_locks)
    write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert left.exists()  # whether its writer lives is not known there


def test_an_error_names_the_final_path(tmp_path):
    missing = tmp_path / "no folder" / "a.bin"
    with pytest.raises(FileNotFoundError, match="could not write") as caught:
        write_bytes(missing, b"x")
    assert caught.value.filename == str(missing)


def test_a_folder_in_place_of_the_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OSError, match="could not write") as caught:
        write_bytes(tmp_path / "a.bin", b"x")
    assert caught.value.filename == str(tmp_path / "a.bin")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_fewer_bytes_on_disk_than_written_are_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def lose_a_byte(descriptor: int) -> None:  # what a disk that lies does
        os.ftruncate(descriptor, 9)

    monkeypatch.setattr("xmc.store.atomic.os.fsync", lose_a_byte)
    with pytest.raises(OSError, match="9 of 10 bytes") as caught:
        write_bytes(path, b"0123456789")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_the_disk_error_of_a_rust_library_becomes_an_os_error(tmp_path):
    with pytest.raises(OSError, match="could not write") as caught, disk_errors_name(tmp_path):
        raise RuntimeError("I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path)


def test_other_errors_pass_unchanged(tmp_path):
    unrelated = FileNotFoundError(errno.ENOENT, "No such file", "some/input.txt")
    for error in (RuntimeError("shape (3, 4)"), unrelated):
        with pytest.raises(type(error)) as caught, disk_errors_name(tmp_path):
            raise error
        assert caught.value is error


def test_remove_temporaries_takes_what_killed_writers_left_and_nothing_else(tmp_path):
    for name in (temporary_name("a.json"), temporary_name("b.json"), "a.json", ".tmp", "x.tmp-1-a.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / temporary_name("a.json")).mkdir()
    (tmp_path / temporary_name("a.json")).symlink_to(tmp_path)
    remove_temporaries(tmp_path, ["a.json"])
    assert sorted(path.name[-6:] for path in tmp_path.iterdir()) == [".tmp", "a.json", "a.json", "b.json"]
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp", "a.json", "x.tmp-1-a.json"]


def test_sha256_of(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
