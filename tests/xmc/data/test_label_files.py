"""Invariants: what is written is what is read, compressed as its name says; ids are found in a file of either form,
whatever its name."""

import gzip
import json
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.label_files import label_lines, read_id_file, write_label_file
from xmc.data.label_metadata_files import read_label_file
from xmc.errors import DataError

LABELS = {"a": "apple", "b": "grüne “Zebras”"}


@pytest.mark.parametrize(
    ("name", "opened"), [("all.jsonl", open), ("all.jsonl.gz", gzip.open), ("all.jsonl.xz", lzma.open)]
)
def test_labels_are_compressed_as_the_name_says(tmp_path, name, opened):
    path, again = tmp_path / name, tmp_path / f"again-{name}"
    write_label_file(path, LABELS)
    write_label_file(again, LABELS)
    with opened(path, "rb") as file:
        assert file.read().decode() == "".join(label_lines(LABELS))
    assert read_label_file(path).texts == LABELS and read_id_file(path) == list(LABELS)
    assert path.read_bytes() == again.read_bytes()  # neither a name nor a time is in it


@pytest.mark.parametrize("name", ["all.csv", "all.tsv", "all.csv.gz"])
def test_labels_are_read_from_csv_and_not_written_as_such(tmp_path, name):
    path, data = tmp_path / name, "sep=;\nid;text;other\na;apple;1\nb;grüne “Zebras”;2\n".encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert read_label_file(path).texts == LABELS
    path.write_bytes(gzip.compress(b"id,text\na,x\na,y") if path.suffix == ".gz" else b"id,text\na,x\na,y")
    with pytest.raises(DataError, match=f"{name}:3: label 'a' stands there twice"):
        read_label_file(path)
    path.unlink()
    with pytest.raises(DataError, match=rf"{name}: labels are not written as CSV\. Name it \.parquet"):
        write_label_file(path, LABELS)
    assert not path.exists()


@pytest.mark.parametrize("name", ["ids.jsonl", "ids.json", "ids.ndjson", "ids", "ids.txt.gz"])
def test_json_lines_are_known_by_the_first_one(tmp_path, name):
    path = tmp_path / name
    data = b'\xef\xbb\xbf \n{"text": "x", "id": "a"}\n\n{"id": 7}\n'
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert read_id_file(path) == ["a", "7"]
    with path.open("ab") as file:
        file.write(gzip.compress(b"b") if path.suffix == ".gz" else b"b")
    with pytest.raises(DataError, match=f"{name}:5: not JSON"):
        read_id_file(path)


@pytest.mark.parametrize("first", ["{a}", "{", '{"text": "x"}', '"id"', '["id"]', "7", "[" * 100_000])
def test_an_id_that_looks_like_json_is_an_id(tmp_path, first):
    path = tmp_path / "ids.txt"
    path.write_text(f"\n {first} \nb\n")
    assert read_id_file(path) == [first, "b"]


def test_a_file_called_jsonl_is_taken_at_its_word(tmp_path):
    path = tmp_path / "ids.jsonl"
    path.write_text('{"label": "a"}\n')
    with pytest.raises(DataError, match=r"ids\.jsonl:1: no key 'id': it has label"):
        read_id_file(path)
    path.write_text("")
    assert read_id_file(path) == []


def test_a_link_to_nothing_is_not_written_over(tmp_path):
    path = tmp_path / "all.jsonl"
    path.symlink_to("elsewhere")
    with pytest.raises(DataError, match="is there already"):
        write_label_file(path, LABELS)
    assert path.is_symlink()


def test_ids_are_read_from_the_column_of_a_csv_or_one_a_line(tmp_path):
    path = tmp_path / "gone.csv"
    for text in ("id\na\n 7\n", '"id"\n"a"\n7', 'text,id\nx,a\n"y\nz",7\n', "sep=;\nid;n\na;1\n7;2\n", "a\n7\n"):
        path.write_text(text)
        assert read_id_file(path) == ["a", "7"], text
    path.write_text("name,n\na,1\n")
    with pytest.raises(DataError, match=r"gone\.csv: the first line must name the columns id; it lacks id"):
        read_id_file(path)


KEPT = {"a": {"page": 3, "tags": ["x"]}, "b": {"owner": {"name": "y"}}}
ROWS = [{"id": "a", "text": "x", "page": 1, "metadata": KEPT["a"]}, {"id": "b", "text": "y", "metadata": KEPT["b"]}]
TABLE = [{"label_id": row["id"], "text": row["text"], "page": 1, "train_count": 2} for row in ROWS]


def as_json_lines(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, {"id": "c", "text": "z", "metadata": None}]))


def as_csv(path):
    cells = ["""a,x,1,"{""page"": 3, ""tags"": [""x""]}\"""", """b,y,1,"{""owner"": {""name"": ""y""}}\"""", "c,z,1, "]
    path.write_text("\n".join(["id,text,page,metadata", *cells]))


def as_structs(path):
    rows = [*({**row, "metadata": kept} for row, kept in zip(TABLE, KEPT.values(), strict=True)), NOTHING]
    pq.write_table(pa.Table.from_pylist(rows), path)


def as_texts(path):
    rows = [*({**row, "metadata": json.dumps(kept)} for row, kept in zip(TABLE, KEPT.values(), strict=True)), NOTHING]
    with pa.ipc.new_file(path, (table := pa.Table.from_pylist(rows)).schema) as writer:
        writer.write_table(table)


NOTHING = {**TABLE[0], "label_id": "c", "text": "z", "metadata": None}
FORMS = [("l.jsonl", as_json_lines), ("l.csv", as_csv), ("l.parquet", as_structs), ("l.arrow", as_texts)]


@pytest.mark.parametrize(("name", "write"), FORMS)
def test_metadata_are_read_and_what_else_is_there_is_told(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    found = read_label_file(path)
    assert found.texts == {"a": "x", "b": "y", "c": "z"} and found.metadata == KEPT
    beside, unused = found.notes(path)
    assert beside == f"metadata of 2 labels are kept as they are in {path}."
    assert unused.startswith(f"{path}: not used were 'page'. A label has an id")


def test_without_metadata_there_is_nothing_to_tell(tmp_path):
    path = tmp_path / "l.jsonl"
    path.write_text('{"id": "a", "text": "x"}\n')
    assert read_label_file(path).metadata is None and read_label_file(path).notes(path) == ()


@pytest.mark.parametrize(
    ("given", "message"), [("[1]", "be a JSON object, got list"), ('"{"', "is not JSON"), ("7", "int")]
)
def test_metadata_that_are_no_object_are_refused(tmp_path, given, message):
    path = tmp_path / "l.jsonl"
    path.write_text(f'{{"id": "a", "text": "x", "metadata": {given}}}\n')
    with pytest.raises(DataError, match=rf"l\.jsonl:1: 'metadata' .*{message}"):
        read_label_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            gzip.compress(b'{"id": "a"}'),
            r"not UTF-8: byte 0x8b at 1; it is compressed by gzip: let its name end in \.gz",
        ),
        (lzma.compress(b'{"id": "a"}'), r"it is compressed by xz: let its name end in \.xz"),
        ('{"id": "a"}'.encode("utf-16"), "it is UTF-16"),
        (b'{"id": ' + b"[" * 100_000, "not JSON: it is nested too deeply"),
    ],
)
def test_what_is_no_text_is_told_by_how_it_begins(tmp_path, content, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    for read in (read_label_file, read_id_file):
        with pytest.raises(DataError, match=rf"a\.jsonl:1: .*{message}"):
            read(path)


def test_a_pipe_is_told_as_such(tmp_path):
    os.mkfifo(tmp_path / "a.jsonl")
    for read in (read_label_file, read_id_file):
        with pytest.raises(DataError, match=r"a\.jsonl is a pipe, a socket or a device"):
            read(tmp_path / "a.jsonl")


def test_a_folder_is_told_as_such(tmp_path):
    for read in (read_label_file, read_id_file):
        with pytest.raises(DataError, match="is a folder, expected a file"):
            read(tmp_path)
