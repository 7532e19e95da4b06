"""The front finds the format, never harms what stands in the output folder, and leaves no half folder."""

import json

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import FORMATS, front, import_dataset
from xmc.errors import DataError


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_rows(folder / "labels.jsonl", [{"id": "a", "text": "Anton"}])
    write_rows(folder / "train.jsonl", [{"id": "q", "text": "one", "labels": ["a"]}])
    return folder


def test_unknown_format(tmp_path, source):
    with pytest.raises(DataError, match=r"unknown format 'jsonll', allowed: auto, .*jsonl.* Did you mean 'jsonl'"):
        import_dataset(source, tmp_path / "out", format="jsonll")


def test_what_is_there_and_what_is_wanted(tmp_path):
    for name in ("b.txt", "a.csv"):
        (tmp_path / name).write_text("a,b\n")
    (tmp_path / "more").mkdir()
    with pytest.raises(DataError) as caught:
        import_dataset(tmp_path, tmp_path / "out")
    assert f"{tmp_path} is in no known format: it holds a.csv, b.txt, more/; wanted are train.csv and" in str(
        caught.value
    )
    for table in ("labels.parquet", "labels.arrow"):
        (tmp_path / table).touch()
        with pytest.raises(DataError, match=f"need no import, .* xmc train --data {tmp_path}"):
            import_dataset(tmp_path, tmp_path / "out")
        (tmp_path / table).unlink()
    for name, known in FORMATS.items():
        assert name == "csv" or name in caught.value.hint
        with pytest.raises(DataError) as caught_by_name:
            import_dataset(tmp_path, tmp_path / "out", format=name)
        assert (
            name == "huggingface" or f"expected {known.expected}; it holds a.csv, b.t" in caught_by_name.value.message
        )


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["Labels.jsonl", "train.jsonl"], "Labels.jsonl must be written in small letters: labels.jsonl."),
        (["labels.jsonl", "TRAIN.JSONL.gz"], "TRAIN.JSONL.gz must be written in small letters: train.jsonl."),
        (["Corpus.jsonl"], "Corpus.jsonl must be written in small letters: corpus.jsonl."),
    ],
)
def test_names_that_differ_by_case_are_named(tmp_path, names, hint):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError) as caught:
        import_dataset(tmp_path, tmp_path / "out")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        ({"train.xlsx": "PK", "readme.md": ""}, "train.xlsx is a workbook: save its sheets as CSV (UTF-8), that of"),
        ({"Book1.xlsx": "PK", "readme.md": ""}, "Book1.xlsx is a workbook: save its sheets as CSV"),
        ({"train.json": '{"text": "a"}\n'}, "train.json has an object a line: rename it to train.jsonl. Other"),
        ({"train.json": '[{"text": "a"}]', "test.json": "[]"}, "Of JSON an object a line is read: write tr"),
        ({"data.json": "[\n"}, "Of JSON an object a line is read: write data.json as data.jsonl, with lines such as"),
        ({"train.txt": "__label__a b\n"}, "train.txt names no columns: write it as train.csv, with the columns"),
        ({"train.arrow": ""}, "Tables need no import, but a train.arrow and a labels.arrow with columns as"),
        ({"data.parquet": ""}, "Is data.parquet the queries to learn from? Name that file train.parquet. Other"),
        ({"data.csv": "text,labels\n"}, "Is data.csv the queries to learn from? Name that file train.csv. Other"),
        ({"a.jsonl": "", "b.jsonl": ""}, "Which of a.jsonl, b.jsonl are the queries to learn from? Name that file tr"),
        ({"sub/train.csv": ""}, "Is it the folder in it that you mean? Then give {}/sub. Other formats are"),
        ({"notes.txt": "", "more.md": ""}, "Other formats are"),
    ],
)
def test_files_that_are_not_read_are_told_with_what_to_do(tmp_path, files, hint):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        import_dataset(tmp_path, tmp_path / "out")
    assert caught.value.hint.startswith(hint.format(tmp_path))


def test_of_many_names_the_first_are_told(tmp_path):
    for number in range(15):
        (tmp_path / f"f{number:02}").touch()
    with pytest.raises(DataError, match=r"holds f00, f01, .* f09 and 5 more; wanted"):
        import_dataset(tmp_path, tmp_path / "out")


def test_source_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        import_dataset(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "queries.csv").write_text("text,labels\na,b\n")
    with pytest.raises(
        DataError, match=r"queries\.csv is a file; a folder is imported.*train\.csv or train\.jsonl in it is enough"
    ):
        import_dataset(tmp_path / "queries.csv", tmp_path / "out")


def test_two_formats(tmp_path, source):
    (source / "corpus.jsonl").touch()
    with pytest.raises(DataError, match=r"could be beir or jsonl. Say which: --format beir"):
        import_dataset(source, tmp_path / "out")
    assert import_dataset(source, tmp_path / "out", format="jsonl").format == "jsonl"


def test_output_folder_in_use(tmp_path, source):
    out = tmp_path / "out"
    out.mkdir()
    import_dataset(source, out)
    with pytest.raises(DataError, match=r"is not empty.*--overwrite"):
        import_dataset(source, out)
    write_rows(source / "train.jsonl", [{"id": "q", "text": "other", "labels": ["a"]}])
    import_dataset(source, out, overwrite=True)
    assert load_dataset(out).train.texts == ["other"]
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match=r"holds thesis\.txt, which no import wrote"):
        import_dataset(source, out, overwrite=True)
    assert (out / "thesis.txt").read_text() == "precious"
    with pytest.raises(DataError, match="is a file, expected a folder"):
        import_dataset(source, out / "thesis.txt")


@pytest.mark.parametrize("failing", ["write_table", "write_json"])
def test_failed_write_leaves_the_old_folder(tmp_path, source, monkeypatch, failing):
    out = tmp_path / "out"
    import_dataset(source, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def refuse(*args, **options):
        raise OSError(28, "disk full", "x")

    monkeypatch.setattr(front, failing, refuse)
    with pytest.raises(OSError, match="disk full"):
        import_dataset(source, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def test_same_source_gives_the_same_tables(tmp_path, source):
    for name in "ab":
        import_dataset(source, tmp_path / name)
    for table in ("labels.parquet", "train.parquet"):
        assert (tmp_path / "a" / table).read_bytes() == (tmp_path / "b" / table).read_bytes()
