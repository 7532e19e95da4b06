"""The TREC layout: qrels files find their split by name; lines that are not four fields are bad rows."""

import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.errors import DataError

FILES = {
    "collection.tsv": "d1\tfirst\n\nd2\tsecond\twith tab\n",
    "queries.train.tsv": "1\tone\n2\ttwo\n",
    "queries.dev.tsv": "3\tthree\n",
    "qrels.train.tsv": "1 0 d1 1\n2\t0\td2\t2\n\n2 0 d1 -1\n",
    "qrels.dev.small.tsv": "3 0 d2 1\n",
}


def make_source(folder, **changed):
    folder.mkdir(exist_ok=True)
    for name, text in {**FILES, **changed}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_import(tmp_path):
    report = import_dataset(make_source(tmp_path / "source"), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert report.format == "trec"
    assert dataset.labels.texts == ["first", "second\twith tab"]
    assert (dataset.train.ids, dataset.dev.texts) == (["1", "2"], ["three"])
    assert dataset.train.positives.label_rows.tolist() == [0, 1]
    assert dataset.train.positives.weights.tolist() == [1.0, 2.0]
    assert report.notes == ("train: 1 judgement of 0 or below means not relevant",)


def test_qrels_folder(tmp_path):
    source = make_source(tmp_path / "source", **{"qrels/test.txt": "1 0 d1 1\n"})
    import_dataset(source, tmp_path / "out")
    assert load_dataset(tmp_path / "out").test.ids == ["1"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"qrels.train.tsv": "1 0 d1 1\n1 d1 1\n"}, r"qrels\.train\.tsv:2: not `qid 0 docid rel`: '1 d1 1'"),
        ({"qrels.train.tsv": "1 0 d1 x\n"}, r"qrels\.train\.tsv:1: not `qid 0 docid rel`"),
        ({"collection.tsv": "d1\tfirst\n\nd2\n"}, r"collection\.tsv:3: not `id<TAB>text`: 'd2'"),
        ({"queries.dev.tsv": "1\tagain\n"}, r"queries\.train\.tsv:1: query id stands twice: '1'"),
        ({"qrels.txt": ""}, r"qrels\.txt: which split are these judgements for\?"),
        ({"qrels.train.txt": ""}, r"which split are these judgements for beside qrels\.train"),
        ({"qrels.train-test.txt": ""}, r"qrels\.train-test\.txt: which split"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        import_dataset(make_source(tmp_path / "source", **changed), tmp_path / "out")


@pytest.mark.parametrize("missing", ["queries", "qrels.train"])
def test_missing_file(tmp_path, missing):
    source = make_source(tmp_path / "source")
    for path in source.glob(f"{missing}*"):
        path.unlink()
    with pytest.raises(DataError, match=r"has no (queries|train qrels): expected collection\.tsv"):
        import_dataset(source, tmp_path / "out")


def test_blanks_around_an_id_say_nothing(tmp_path):
    """Judgements are separated by blanks, and cannot name an id that has some."""
    changed = {"collection.tsv": "d1 \tfirst\n d2\tsecond\n", "queries.train.tsv": "1 \tone\n 2\ttwo\n"}
    import_dataset(make_source(tmp_path / "source", **changed), tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert (dataset.labels.ids, dataset.train.ids) == (["d1", "d2"], ["1", "2"])
