"""Invariants: the batches of a shard are its rows in order, no larger than asked; damage anywhere is a DataError that
names the file, never a crash or a wrong row that passes; only the wanted columns are read."""

import gzip
import random

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from xmc.data.shard_list import list_shards
from xmc.data.shard_stream import open_stream
from xmc.errors import DataError
from xmc.retrieve.query_columns import text_values

TABLE = pa.table({"query_id": [f"q{row}" for row in range(500)], "text": [f"text {row}" for row in range(500)]})
TABLE = TABLE.append_column("other", pa.array(range(500)))


def write(path, kind):
    if kind == "parquet":
        pq.write_table(TABLE, path, row_group_size=150, write_page_checksum=True)
    else:
        opened = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, opened(file, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=120)


@pytest.fixture(params=["parquet", "file", "stream"])
def path(request, tmp_path):
    path = tmp_path / ("q.parquet" if request.param == "parquet" else "q.arrow")
    write(path, request.param)
    return path


def read(path, rows=64):
    (shard,) = list_shards(str(path)).shards
    with open_stream(shard, columns=[["query_id", "id"], ["text"]], rows=rows) as stream:
        return list(stream.batches)


def test_the_rows_in_order(path):
    found = read(path)
    batches = [batch for batch, _ in found]
    assert pa.Table.from_batches(batches).equals(TABLE.select(["query_id", "text"]))
    assert max(batch.num_rows for batch in batches) <= 64
    shares = [share for _, share in found]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1, abs=0.01) and shares[0] < 0.5


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_a_shard_without_rows(tmp_path, kind, monkeypatch):
    monkeypatch.setitem(globals(), "TABLE", TABLE.slice(0, 0))
    path = tmp_path / ("q.parquet" if kind == "parquet" else "q.arrow")
    write(path, kind)
    assert sum(batch.num_rows for batch, _ in read(path)) == 0


def test_damage_is_named_or_harmless(path):
    """Truncations, flipped bytes; Arrow IPC has no checksums, so there a text may be another, but nothing crashes."""
    whole = path.read_bytes()
    generator = random.Random(3)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        if generator.random() < 0.3:
            del data[generator.randrange(len(data)) :]
        else:
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(data)
        try:
            batches = [batch for batch, _ in read(path)]
        except DataError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        for batch in batches:
            for name in set(batch.schema.names) & {"query_id", "text"}:
                assert len(text_values(batch.column(name))) == batch.num_rows
    assert refused >= 15


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("categories", [False, True])
def test_a_text_that_is_no_utf8_is_no_damage(tmp_path, type_, categories):
    """It is a matter of its row."""
    bytes_of = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    text = pa.array([b"bad \xff", b"tram"]).cast(bytes_of[type_]).view(type_)
    text = pa.DictionaryArray.from_arrays(pa.array([0, 1]), text) if categories else text
    table = pa.table({"query_id": ["a", "b"], "text": text})
    with pa.OSFile(str(tmp_path / "q.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    ((batch, _),) = read(tmp_path / "q.arrow")
    assert text_values(batch.column("text")) == [b"bad \xff", "tram"]


@pytest.mark.parametrize("numbers", [pa.int8(), pa.int32(), pa.uint32(), pa.int64()])  # pandas writes the narrowest
def test_nor_among_the_categories_of_a_parquet_file(tmp_path, numbers):
    names = pa.array([b"bad \xff", b"tram"]).view(pa.string())
    text = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 1], numbers), names)
    pq.write_table(pa.table({"query_id": list("abcd"), "text": text}), tmp_path / "q.parquet", row_group_size=3)
    found = [text_values(batch.column("text")) for batch, _ in read(tmp_path / "q.parquet")]
    assert [text for texts in found for text in texts] == [b"bad \xff", "tram", None, "tram"]


@pytest.mark.parametrize("kind", ["parquet", "file"])
def test_damage_of_a_column_that_is_not_read_is_none(tmp_path, kind, monkeypatch):
    """With `query_id` no `id` is needed."""
    damaged = pa.array([b"\xff"] * 500).view(pa.string())
    monkeypatch.setitem(globals(), "TABLE", TABLE.append_column("id", damaged).append_column("id", damaged))
    path = tmp_path / ("q.parquet" if kind == "parquet" else "q.arrow")
    write(path, kind)
    assert {name for batch, _ in read(path) for name in batch.schema.names} == {"query_id", "text"}


@pytest.mark.parametrize("kind", ["parquet", "file"])
@pytest.mark.parametrize("change", ["packed", "named as the other"])
def test_a_file_of_another_kind_is_told_as_that(tmp_path, kind, change):
    right = tmp_path / ("q.parquet" if kind == "parquet" else "q.arrow")
    write(right, kind)
    wrong = tmp_path / ("x.arrow" if (kind == "parquet") == (change != "packed") else "x.parquet")
    wrong.write_bytes(gzip.compress(right.read_bytes()) if change == "packed" else right.read_bytes())
    says = r"Unpack it: gunzip" if change == "packed" else rf"let its name end in {right.suffix}"
    with pytest.raises(DataError, match=rf"{wrong.name} cannot be read: .*{says}"):
        read(wrong)


def test_a_missing_file(tmp_path):
    pq.write_table(TABLE, tmp_path / "q.parquet")
    (shard,) = list_shards(str(tmp_path)).shards
    (tmp_path / "q.parquet").unlink()
    with pytest.raises(DataError, match=r"there is no file .*q\.parquet"), open_stream(shard, columns=[], rows=1):
        pass


def test_a_file_that_cannot_be_opened(tmp_path):
    pq.write_table(TABLE, tmp_path / "q.parquet")
    (shard,) = list_shards(str(tmp_path)).shards
    (tmp_path / "q.parquet").unlink()
    (tmp_path / "q.parquet").symlink_to("q.parquet")  # a loop, which is refused to root as well
    with pytest.raises(DataError, match=r"q\.parquet cannot be opened: ") as raised:
        open_stream(shard, columns=[], rows=1).__enter__()
    assert raised.value.hint == "May this user read it?"


def test_what_the_caller_raises_is_not_damage(path):
    (shard,) = list_shards(str(path)).shards
    with pytest.raises(OSError, match="disk"), open_stream(shard, columns=[["text"]], rows=9):
        raise OSError("the disk is full")


def test_a_stream_that_was_cut_between_two_batches_is_damaged(tmp_path):
    path = tmp_path / "q.arrow"
    with pa.OSFile(str(path), "wb") as file:
        writer = pa.ipc.new_stream(file, TABLE.schema)
        writer.write_table(TABLE, max_chunksize=120)
        end = file.tell()
        writer.close()
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DataError, match=r"q\.arrow cannot be read: the stream has no end"):
        read(path)
