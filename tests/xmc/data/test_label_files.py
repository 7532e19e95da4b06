"""Invariants: what is written is what is read, compressed as its name says; ids are found in a file of either form,
whatever its name."""

import gzip
import lzma

import pytest

from xmc.data.label_files import label_lines, read_id_file, read_label_file, write_label_file
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
    assert read_label_file(path) == LABELS and read_id_file(path) == list(LABELS)
    assert path.read_bytes() == again.read_bytes()  # neither a name nor a time is in it


@pytest.mark.parametrize("name", ["all.csv", "all.tsv", "all.csv.gz"])
def test_labels_are_read_from_csv_and_not_written_as_such(tmp_path, name):
    path, data = tmp_path / name, "sep=;\nid;text;other\na;apple;1\nb;grüne “Zebras”;2\n".encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    assert read_label_file(path) == LABELS
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
