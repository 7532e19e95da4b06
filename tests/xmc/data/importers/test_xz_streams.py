"""Invariant: of an .xz file all streams are read, or it is refused; a damaged one is never taken for its end."""

import lzma

import pytest

from xmc.data.importers.text_files import read_raw_lines
from xmc.data.importers.xz_streams import open_xz
from xmc.errors import DataError

ONE, OTHER = b"one line\n" * 20_000, b"another\n"


def lines(path):
    return [line for _, line in read_raw_lines(path)]


@pytest.mark.parametrize("between", [b"", bytes(4), bytes(1 << 17)])
def test_all_streams_are_read(tmp_path, between):
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(ONE) + between + lzma.compress(b"") + lzma.compress(OTHER) + between)
    assert lines(path) == (ONE + OTHER).splitlines(keepends=True)
    with open_xz(path) as file:
        assert file.read() == ONE + OTHER


def test_damage_and_cuts_are_refused(tmp_path):
    path = tmp_path / "a.xz"
    first, second = lzma.compress(ONE), lzma.compress(OTHER)
    cut = [second[:place] for place in range(1, len(second))]
    damaged = [second[:place] + bytes([byte ^ 4]) + second[place + 1 :] for place, byte in enumerate(second)]
    for further in (b"garbage", *cut, *damaged):
        path.write_bytes(first + further)
        with pytest.raises(DataError, match=r"a\.xz cannot be read: "):
            lines(path)
