"""Invariants: what is written is read back, or the file is refused by name; damage never changes data in silence."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.schemas import schema_of
from xmc.data.shards import concatenate, find_shards, read_table, write_table
from xmc.data.tables import LabelTable, read_queries
from xmc.errors import DataError

MUTATIONS = 400


def queries(rows=40):
    draw = random.Random(3)
    columns = {
        "query_id": [f"q{row}" for row in range(rows)],
        "text": [f"words {draw.random()} ünïcode" if row % 7 else None for row in range(rows)],
        "positives": [[draw.randrange(99) for _ in range(row % 4)] for row in range(rows)],
    }
    columns["relevance"] = [[draw.random() for _ in entry] for entry in columns["positives"]]
    return pa.table(columns, schema=schema_of("queries", without=["bag_id"]))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"q{suffix}"
    write_table(path, queries())
    table = read_table(path, kind="queries")
    assert table.to_pylist() == queries().to_pylist()
    assert table.column("positives").type.value_type == pa.int32()
    assert table.column("relevance").type.value_type == pa.float32()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_same_table_gives_same_bytes(tmp_path, suffix):
    for name in "ab":
        write_table(tmp_path / f"{name}{suffix}", queries())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_every_byte_flip_is_refused_or_harmless(tmp_path, suffix):
    path = tmp_path / f"q{suffix}"
    write_table(path, queries())
    original, truth, draw = path.read_bytes(), queries().to_pylist(), random.Random(11)
    refused = 0
    for _ in range(MUTATIONS):
        damaged = bytearray(original)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            assert read_table(path, kind="queries").to_pylist() == truth
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > MUTATIONS / 2


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_every_truncation_is_refused(tmp_path, suffix):
    path = tmp_path / f"q{suffix}"
    write_table(path, queries())
    original = path.read_bytes()
    for length in [0, 1, 4, len(original) // 3, len(original) // 2, len(original) - 8, len(original) - 1]:
        path.write_bytes(original[:length])
        with pytest.raises(DataError, match=r"q\.\w+ cannot be read"):
            read_table(path, kind="queries")


def test_a_table_swapped_under_the_recorded_hashes_is_refused(tmp_path):
    write_table(tmp_path / "q.parquet", queries())
    metadata = pq.read_schema(tmp_path / "q.parquet").metadata
    other = queries().slice(1).replace_schema_metadata(metadata)
    pq.write_table(other, tmp_path / "q.parquet")
    with pytest.raises(DataError, match="the SHA-256 of column 'query_id' is not the one recorded"):
        read_table(tmp_path / "q.parquet", kind="queries")
    pq.write_table(queries().drop_columns("relevance").replace_schema_metadata(metadata), tmp_path / "q.parquet")
    with pytest.raises(DataError, match=r"columns .* were written"):
        read_table(tmp_path / "q.parquet", kind="queries")


def test_file_written_by_others_is_read_without_its_further_columns(tmp_path):
    pq.write_table(pa.table({"label_id": ["a"], "text": ["b"], "parent": ["c"]}), tmp_path / "l.parquet")
    assert read_table(tmp_path / "l.parquet", kind="labels").to_pylist() == [{"label_id": "a", "text": "b"}]
    assert read_table(tmp_path / "l.parquet").column_names == ["label_id", "text", "parent"]
    write_table(tmp_path / "l.arrow", read_table(tmp_path / "l.parquet"))
    assert read_table(tmp_path / "l.arrow", kind="labels").column_names == ["label_id", "text"]
    assert read_table(tmp_path / "l.arrow").column_names == ["label_id", "text", "parent"]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_dictionary_columns_are_read(tmp_path, suffix):
    table = pa.table({"label_id": pa.array(["a", "b"]).dictionary_encode(), "text": ["x", "y"]})
    write_table(tmp_path / f"l{suffix}", table)
    assert read_table(tmp_path / f"l{suffix}", kind="labels").column("label_id").to_pylist() == ["a", "b"]


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_categories_as_polars_writes_them_are_read(tmp_path, new):
    """Their names are string views, which Arrow can neither cast nor take."""
    names = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, 1], pa.uint32()), pa.array(["x", "y"], pa.string_view()))
    lists = pa.ListArray.from_arrays(pa.array([0, 1, None, 3, 4], pa.int32()), names)
    table = pa.table({"query_id": list("abcd"), "text": names, "positives": lists})
    with new(tmp_path / "q.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    read = read_table(tmp_path / "q.arrow", kind="queries")
    assert read.column("text").cast(pa.string()).to_pylist() == ["x", "y", "x", "y"]
    assert read.column("positives").to_pylist() == [["x"], ["y", "x"], None, ["y"]]
    labels = LabelTable(["y", "x"], ["Y", "X"])
    queries, notes = read_queries([tmp_path / "q.arrow"], labels, split="train")
    assert (queries.ids, queries.positives.label_rows.tolist()) == (["a", "b", "d"], [1, 0, 1, 0]) and len(notes) == 1


def bad_utf8():
    offsets = pa.py_buffer(b"\0\0\0\0\3\0\0\0")
    return pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"\xed\xa0\x80"))  # a lone surrogate, encoded


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_lone_surrogate_is_refused(tmp_path, suffix):
    path = tmp_path / f"l{suffix}"
    table = pa.table({"label_id": pa.array(["a"]), "text": bad_utf8()})
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(DataError, match=r"l\.\w+ cannot be read: .*UTF8"):
        read_table(path, kind="labels")


def test_missing_file_and_wrong_suffix(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*x\.parquet"):
        read_table(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.csv: a table ends in \.parquet or \.arrow"):
        write_table(tmp_path / "x.csv", queries())


def test_find_shards(tmp_path):
    for name in ("part-10.parquet", "part-9.parquet", "part-1.arrow", ".tmp-1-part-2.parquet", "notes.txt"):
        (tmp_path / name).touch()
    wanted = ["part-1.arrow", "part-9.parquet", "part-10.parquet"]
    assert [path.name for path in find_shards(tmp_path)] == wanted
    assert [path.name for path in find_shards(tmp_path / "part-*")] == wanted
    assert [path.name for path in find_shards(str(tmp_path / "part-9*"))] == ["part-9.parquet"]
    with pytest.raises(DataError, match="there is no table"):
        find_shards(tmp_path / "other-*.parquet")
    with pytest.raises(DataError, match=r"notes\.txt: a table ends in"):
        find_shards(tmp_path / "notes.txt")


def test_a_folder_stands_for_all_below_it(tmp_path):
    for name in ("b.parquet", "day=2/a.arrow", "day=10/a.parquet", "day=2/_temporary/0/a.parquet", "_old.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "day=2" / "back").symlink_to(tmp_path)
    (tmp_path / "gone.parquet").symlink_to("nowhere")
    found = [path.relative_to(tmp_path).as_posix() for path in find_shards(tmp_path)]
    assert found == ["b.parquet", "day=2/a.arrow", "day=10/a.parquet", "gone.parquet"]


def test_find_shards_in_a_folder_with_brackets(tmp_path):
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "a[1]" / "q.parquet").touch()
    assert find_shards(tmp_path / "a[1]" / "q.parquet") == [tmp_path / "a[1]" / "q.parquet"]


def test_concatenate_shards_of_different_widths():
    one = pa.table({"text": pa.array(["a"], pa.string())})
    other = pa.table({"text": pa.array(["b"], pa.large_string())})
    assert concatenate([one, other], source="q").column("text").to_pylist() == ["a", "b"]


def test_a_table_that_was_changed_on_purpose_is_told_how_to_write_it(tmp_path):
    path = tmp_path / "q.parquet"
    write_table(path, queries())
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    with pytest.raises(DataError, match=r"write it without the old hashes: table\.replace_schema_metadata\(None\)"):
        read_table(path, kind="queries")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert len(read_table(path, kind="queries")) == 5


@pytest.fixture
def stream(tmp_path):
    """Three record batches in the stream format, and where each ends."""
    path, ends = tmp_path / "l.arrow", []
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, LABELS.schema) as writer:
        for batch in LABELS.to_batches(max_chunksize=2):
            writer.write_batch(batch)
            ends.append(file.tell())
    return path, ends


LABELS = pa.table({"label_id": list("abcdef"), "text": [f"text {row}" for row in range(6)]})


def test_a_stream_is_read(stream):
    assert read_table(stream[0], kind="labels").equals(LABELS)


def test_a_stream_without_rows(tmp_path):
    with pa.ipc.new_stream(tmp_path / "l.arrow", LABELS.schema):
        pass
    assert len(read_table(tmp_path / "l.arrow", kind="labels")) == 0


def test_a_stream_that_lost_its_end_or_has_a_second_one_is_refused(stream):
    """Arrow itself takes one that was cut between two batches for whole."""
    path, ends = stream
    whole = path.read_bytes()
    for cut in (*ends, *(end + 3 for end in ends), len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"l\.arrow cannot be read: .*(the stream has no end|Expected|Corrupted)"):
            read_table(path, kind="labels")
    path.write_bytes(whole + whole)
    with pytest.raises(DataError, match="as when several are in one file"):
        read_table(path, kind="labels")
