"""Parquet as pandas writes it: what is there comes out as it went in; a bad row is named by its number."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.data.named import named_folder
from xmc.errors import DataError


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()

    def write(**tables):
        for name, columns in tables.items():
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        return folder

    write(labels={"id": ["a", "7", "b"], "text": ["Anton", "seven", "Berta"]})
    return write


def positives(queries, labels):
    rows, offsets = queries.positives.label_rows, queries.positives.offsets
    return [[labels.ids[row] for row in rows[start:stop]] for start, stop in pairwise(offsets)]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([["a"], ["7", "b"]], [["a"], ["7", "b"]]),
        (["a", "7|b"], [["a"], ["7", "b"]]),
        ([7, 7], [["7"], ["7"]]),
        ([[7], [7]], [["7"], ["7"]]),
        (pa.array(["a", "b"]).dictionary_encode(), [["a"], ["b"]]),
        (['["a"]', "b"], [["a"], ["b"]]),
    ],
)
def test_import(source, tmp_path, cells, expected):
    folder = source(
        train={"text": ["one", "two"], "labels": cells, "other": [0.5, None]},
        validation={"id": [5], "text": ["x"], "labels": [["a", "b"]], "relevance": [[0.5, 2.0]]},
    )
    report = import_dataset(folder, tmp_path / "out")
    data = load_dataset(tmp_path / "out")
    assert (report.format, data.labels.texts, data.train.texts) == (
        "parquet",
        ["Anton", "seven", "Berta"],
        ["one", "two"],
    )
    assert positives(data.train, data.labels) == expected
    assert (data.train.ids, data.dev.ids) == (["train-000001", "train-000002"], ["5"])
    assert data.dev.positives.weights.tolist() == [0.5, 2.0] and report.tables["train"].read == 2


def test_without_labels_their_ids_are_their_texts(source, tmp_path):
    folder = source(train={"text": ["one", "two"], "labels": [["fruit"], ["tools", "fruit"]]})
    (folder / "labels.parquet").unlink()
    notes = import_dataset(folder, tmp_path / "out").notes
    assert load_dataset(tmp_path / "out").labels.texts == ["fruit", "tools"]
    assert notes[0] == "there is no labels.parquet, so the text of a label is its id"
    source(train={"text": ["one"], "labels": pa.array([None], pa.string())})
    with pytest.raises(
        DataError, match=r"no row of .*train\.parquet names a label, and .*train\.parquet:1 has None\. A cell"
    ):
        import_dataset(folder, tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "cell", "reason"),
    [
        ("x", [None], "query has no label"),
        ("x", [["gone"]], "unknown label id 'gone'"),
        ("x", [7.0], "'labels' is neither a list of ids nor an id: 7.0"),
        ("x", [[7.5]], "'labels' must be a list of label ids, strings or whole numbers"),
        ("x", ["['a', 'b']"], "'labels' is neither a list of ids nor an id: \"['a', 'b']\""),
        (None, [["a"]], "'text' must be a string: got NoneType"),
    ],
)
def test_a_bad_row_stops_or_is_counted(source, tmp_path, text, cell, reason):
    folder = source(train={"text": ["one"], "labels": [["a"]]}, test={"text": [text], "labels": cell})
    with pytest.raises(DataError) as caught:
        import_dataset(folder, tmp_path / "out")
    assert str(caught.value).startswith(f"{folder / 'test.parquet'}:1: {reason}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["x"], "label": ["a"]}, "lacks labels and has text, label. Rename 'label' to 'labels'."),
        ({"the_text": ["x"], "labels": ["a"]}, "lacks text and has the_text, labels. Rename 'the_text' to 'text'."),
        ({"text": ["x"], "sad": [True], "glad": [False]}, "If sad, glad are labels, and a row has a 1 below its own"),
        ({"text": [], "a": pa.array([], pa.int8())}, "lacks labels and has text, a. Rename yours."),
        ({"sentence": ["x"], "category": ["a"]}, "needs the columns text and labels; it lacks text and labels and has"),
    ],
)
@pytest.mark.parametrize("has_labels", [True, False])
def test_a_column_that_is_not_there_is_named(source, tmp_path, columns, message, has_labels):
    if not has_labels:
        (source() / "labels.parquet").unlink()
    with pytest.raises(DataError) as caught:
        import_dataset(source(train=columns), tmp_path / "out")
    assert message in str(caught.value)


def test_a_data_set_folder_needs_no_import(tmp_path):
    with pytest.raises(DataError, match="need no import, if their columns are"):
        import_dataset(named_folder("tiny"), tmp_path / "out")


def test_a_damaged_file_is_said(source, tmp_path):
    folder = source(train={"text": ["one"], "labels": [["a"]]})
    for name in ("labels", "train"):
        (folder / f"{name}.parquet").write_bytes(b"PAR1 and no more")
        with pytest.raises(DataError, match=rf"{name}\.parquet cannot be read"):
            import_dataset(folder, tmp_path / "out")
        (folder / "labels.parquet").unlink(missing_ok=True)
