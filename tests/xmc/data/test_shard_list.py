"""Invariants: a file, a folder and a pattern name the shards a shell would name, in natural order, with their state."""

import gzip
import os
import shlex
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.shard_list import ShardFile, list_shards, pattern_of
from xmc.errors import DataError
from xmc.store.location import Location

NAMES = ("part-10.parquet", "part-9.parquet", "b.arrow", "sub/part-1.parquet", "_done.parquet", ".x.parquet", "c.txt")


@pytest.fixture
def folder(tmp_path):
    for name in (*NAMES, "_hidden/d.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["b.arrow", "part-9.parquet", "part-10.parquet", "sub/part-1.parquet"]),
        ("/part-9.parquet", ["part-9.parquet"]),
        ("/part-*.parquet", ["part-9.parquet", "part-10.parquet"]),
        ("/part-?.parquet", ["part-9.parquet"]),
        ("/part-[!9]*.parquet", ["part-10.parquet"]),
        ("/*/*.parquet", ["_hidden/d.parquet", "sub/part-1.parquet"]),
        ("/**/part-*.parquet", ["part-9.parquet", "part-10.parquet", "sub/part-1.parquet"]),
    ],
)
def test_what_is_named(folder, pattern, names):
    for text in (f"{folder}{pattern}", f"file://{folder}{pattern}")[: 1 if "?" in pattern else 2]:
        assert [shard.name for shard in list_shards(text)] == names


def test_a_relative_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [shard.name for shard in list_shards("sub")] == ["part-1.parquet"]
    assert [shard.name for shard in list_shards("./sub/*")] == ["part-1.parquet"]
    assert list_shards("sub")[0].location == Location("", str(folder / "sub" / "part-1.parquet"))


def test_the_state_of_a_file(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    (shard,) = list_shards(str(path))
    assert ShardFile.from_dict(shard.to_dict()) == shard
    assert (shard.size, shard.modified_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert not shard.has_changed()
    os.utime(path, ns=(0, shard.modified_ns + 1))
    assert shard.has_changed()


@pytest.mark.parametrize("pattern", ["/nothing.parquet", "/no*.parquet", "/no/*.parquet", "/c.txt/*"])
def test_nothing(folder, pattern):
    with pytest.raises(DataError, match="there is no table"):
        list_shards(f"{folder}{pattern}")


def test_another_kind_of_file(folder):
    with pytest.raises(DataError, match=r"c\.txt: a table ends in \.parquet or \.arrow"):
        list_shards(f"{folder}/c*")


KINDS = {
    "jsonl": b'{"id": "a", "text": "tram"}\n{"id": "b", "text": "two words"}\n',
    "csv": b"id,text\na,tram\nb,two words\n",
}


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hint_makes_a_table_of_it(tmp_path, kind, packed):
    path = tmp_path / f"it's my.{kind}{packed}"
    path.write_bytes(gzip.compress(KINDS[kind]) if packed else KINDS[kind])
    with pytest.raises(DataError) as caught:
        list_shards(str(path))
    command = shlex.split(caught.value.hint.partition(": ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True)
    (shard,) = list_shards(str(tmp_path / "*.parquet"))
    assert pq.read_table(shard.location.path).to_pydict() == {"id": ["a", "b"], "text": ["tram", "two words"]}


def test_lines_of_text_have_another_way(folder):
    with pytest.raises(DataError, match="xmc search - --run RUN < FILE"):
        list_shards(f"{folder}/c.txt")


def test_dots_are_dots():
    assert not pattern_of("*.parquet").fullmatch("a-parquet")
