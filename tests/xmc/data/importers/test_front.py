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


def test_no_known_format_lists_all(tmp_path):
    with pytest.raises(DataError) as caught:
        import_dataset(tmp_path, tmp_path / "out")
    for name, known in FORMATS.items():
        assert f"{name}: {known.expected}" in str(caught.value)


def test_source_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        import_dataset(tmp_path / "nowhere", tmp_path / "out")


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
