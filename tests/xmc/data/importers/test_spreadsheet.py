"""CSV and TSV: what is there comes out as it went in, whatever the delimiter; a bad row is named by its first line."""

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.dataset import load_dataset
from xmc.data.importers import import_dataset
from xmc.data.importers.csv_rows import read_table_rows
from xmc.data.importers.tally import Tally
from xmc.errors import DataError

LABELS = 'id,text\na,Anton\n7,seven\nü,"Übel, mit\nUmbruch"\n'
TRAIN = 'text,labels,id,other\none,ü|a,q1,x\n"two ""quoted""",7,q2,\n\nthree,"[""a"", 7]",q3,y\n'
TEST = "id;text;labels;relevance\nt1;test;a|7;0.5|2\nt2;more;ü;\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()

    def write(**files):
        for name, text in files.items():
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
        return folder

    write(labels=LABELS, train=TRAIN)
    return write


@pytest.mark.parametrize("kind", ["csv", "tsv", "bom and CRLF", "gzip"])
def test_import(source, tmp_path, kind):
    folder = source(test=TEST)
    if kind == "tsv":
        rows = csv.reader(io.StringIO(LABELS))
        with (folder / "labels.tsv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t").writerows(rows)
        (folder / "labels.csv").unlink()
    elif kind == "bom and CRLF":
        (folder / "train.csv").write_bytes(b"\xef\xbb\xbf" + TRAIN.replace("\n", "\r\n").encode())
    elif kind == "gzip":
        (folder / "train.csv.gz").write_bytes(gzip.compress(TRAIN.encode()))
        (folder / "train.csv").unlink()
    report = import_dataset(folder, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == ["a", "7", "ü"]
    assert dataset.labels.texts == ["Anton", "seven", "Übel, mit\nUmbruch"]
    assert dataset.train.ids == ["q1", "q2", "q3"]
    assert dataset.train.texts == ["one", 'two "quoted"', "three"]
    assert [dataset.labels.ids[row] for row in dataset.train.positives.label_rows] == ["a", "ü", "7", "a", "7"]
    assert dataset.test.positives.weights.tolist() == [0.5, 2.0, 1.0]
    assert report.format == "csv" and report.tables["train"].read == 3


@pytest.mark.parametrize("line", [b"sep=;\r\n", b"\xef\xbb\xbfSEP=;\n", b'"sep=;"\n'])
def test_the_line_of_excel_that_names_the_delimiter_is_no_row(source, tmp_path, line):
    folder = source()
    (folder / "train.csv").write_bytes(line + b"text;labels\none;a|7\ntwo;gone\n")
    with pytest.raises(DataError, match=r"train\.csv:4: unknown label id 'gone'"):
        import_dataset(folder, tmp_path / "out")
    report = import_dataset(folder, tmp_path / "out", on_bad_row="skip")
    assert load_dataset(tmp_path / "out").train.texts == ["one"] and report.tables["train"].read == 2
    (folder / "train.csv").write_bytes(line + b"text;label\none;a\n")
    with pytest.raises(DataError, match=r"first line must name the .*lacks labels and has text, label"):
        import_dataset(folder, tmp_path / "again")


@pytest.mark.parametrize("cell", ["a", " a", '"[""a ""]"', "a | 7"])
def test_blanks_around_the_id_of_a_label_say_nothing(source, tmp_path, cell):
    folder = source(labels="id,text\n a ,Anton\n7\t,seven\n", train=f"text,labels\none,{cell}\n")
    import_dataset(folder, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == ["a", "7"] and dataset.train.positives.label_rows[0] == 0
    (folder / "labels.csv").write_text("id,text\na,Anton\na ,again\n7,seven\n")
    with pytest.raises(DataError, match=r"labels\.csv:3: label id stands twice: 'a'"):
        import_dataset(folder, tmp_path / "twice")


def test_without_labels_and_ids(source, tmp_path):
    folder = source(
        train="labels,text\nfruit|round things,apple\nfruit,pear\n[7],seven\n", test="text,labels\nx,tools\n"
    )
    (folder / "labels.csv").unlink()
    report = import_dataset(folder, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels.ids == dataset.labels.texts == ["fruit", "round things", "7", "tools"]
    assert dataset.train.ids == ["train-000001", "train-000002", "train-000003"]
    assert len(report.notes) == 3 and report.notes[0] == "there is no labels.csv, so the text of a label is its id"
    assert "called train-000001 and so on" in report.notes[1]


@pytest.mark.parametrize(
    ("row", "line", "reason"),
    [
        ("x,a", 6, "not as many cells as columns: 2 and 4"),
        ("x,gone,n,", 6, "unknown label id 'gone'"),
        ("x,,n,", 6, "query has no label"),
        ("x,[1,n,", 6, "unknown label id '[1'"),
        ("x,a,q1,", 6, "query id stands twice"),
        ("x,a,,", 6, "id is empty"),
        (" ,a,n,", 6, "text is empty"),
        ('"x\n\ny",gone,n,', 6, "unknown label id 'gone'"),
    ],
)
def test_a_bad_row_stops_or_is_counted(source, tmp_path, row, line, reason):
    head, last = TRAIN.rsplit("\n", 2)[0], TRAIN.rsplit("\n", 2)[1]
    folder = source(train=f"{head}\n{row}\n{last.replace('q3', 'q4')}\n")
    with pytest.raises(DataError) as caught:
        import_dataset(folder, tmp_path / "out")
    assert str(caught.value).startswith(f"{folder / 'train.csv'}:{line - 1}: {reason}")
    import_dataset(folder, tmp_path / "out", on_bad_row="skip")
    assert load_dataset(tmp_path / "out").train.ids == ["q1", "q2", "q4"]


@pytest.mark.parametrize(
    ("relevance", "reason"),
    [
        ("1|2", "'relevance' must be as long as 'labels': 2 and 1"),
        ("much", "'relevance' must be a list of numbers: got ['much']"),
        ("0,5|1", "not as many cells as columns: 5 and 4"),
        ("nan", "relevance is not a finite number > 0"),
        ("0", "relevance is not a finite number > 0"),
    ],
)
def test_bad_relevance(source, tmp_path, relevance, reason):
    folder = source(test=f"id,text,labels,relevance\nt1,x,a,{relevance}\n")
    with pytest.raises(DataError) as caught:
        import_dataset(folder, tmp_path / "out")
    assert f"test.csv:2: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"train": "text,label\nx,a\n"},
            "the first line must name the columns text, labels; it lacks labels and has text, label. "
            "Rename 'label' to 'labels'.",
        ),
        (
            {"train": "text,label1,Label_2\nx,a,b\n"},
            "Put label1 and Label_2 into one column 'labels', in which a row reads a|b.",
        ),
        (
            {"train": "id;comment_text;toxic;obscene;threat;insult\n1;x;0;1;0;0\n"},
            "If toxic, obscene, threat and 1 more are labels, and a row has a 1 below its own, put them into one "
            "column: in pandas, with `names` the list of them, df[",
        ),
        ({"train": "id;comment_text;toxic;threat\n1;x;0;1\n"}, "axis=1) Rename 'comment_text' to 'text'."),
        ({"train": "sentence,category\nx,a\n"}, "has sentence, category. Columns are separated by commas, semicol"),
        ({"train": "text|labels\nx|a\n"}, "and has text|labels. Columns are separated by commas, semicolons or tabs."),
        (
            {"train": "t\0e\0x\0t\0"},
            "train.csv:1: there are zero bytes in it, as UTF-16 has them. Save the file as UTF-8",
        ),
        ({"train": ""}, "it lacks text, labels and has nothing. Columns are separated by commas"),
        ({"train": "Text,label\nx,a\n"}, "Rename 'Text' to 'text' and 'label' to 'labels'."),
        ({"labels": "id,text,text\na,b,c\n"}, "the column text stands twice"),
        ({"train": 'text,labels\nx,a\n"open,a\n\n'}, "train.csv:3: not CSV: unexpected end of data. A cell that"),
        (
            {"train": 'text,labels\n"one" two,a\n'},
            "begins with a quote must end with one, and a quote within it stands twice",
        ),
    ],
)
def test_what_is_no_such_table_is_refused(source, tmp_path, files, message):
    with pytest.raises(DataError) as caught:
        import_dataset(source(**files), tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_label_ids_that_were_read_as_numbers_with_a_fraction_are_told(source, tmp_path):
    folder = source(train="text,labels\none,7.0\ntwo,12.0\n")
    (folder / "labels.csv").unlink()
    assert any("such as '7.0': has a program" in note for note in import_dataset(folder, tmp_path / "out").notes)
    source(train="text,labels\none,7.0\ntwo,7.1\n")
    assert not any("such as" in note for note in import_dataset(folder, tmp_path / "sections").notes)


def test_a_row_that_breaks_the_quote_rules_is_skipped_alone(source, tmp_path):
    rows = ["one,a", '"two" 2,a', 'three "3",7', '"four ""4""",7', "five\r5,a", '"six\n6",7']
    folder = source(train="text,labels\n" + "\n".join(rows) + '\n"seven,a')
    report = import_dataset(folder, tmp_path / "out", on_bad_row="skip")
    assert load_dataset(tmp_path / "out").train.texts == ["one", 'three "3"', 'four "4"', "six\n6"]
    train = report.tables["train"]
    assert (train.read, train.written, train.skipped) == (7, 4, {"not CSV": 3})
    assert train.examples[0].endswith("train.csv:3: not CSV: ',' expected after '\"'")
    source(train='text,labels\none,a\n"two,a\nthree,a\n')
    with pytest.raises(DataError, match=r"train\.csv:3: not CSV: unexpected end of data"):  # what it held is unknown
        import_dataset(folder, tmp_path / "again", on_bad_row="skip")


def test_without_labels_the_error_is_about_the_queries(source, tmp_path):
    folder = source(train="id,text,label\n1,x,a\n")
    (folder / "labels.csv").rename(folder / "Labels.csv")
    with pytest.raises(DataError, match=r"has no labels\.csv; .* must be written in small letters"):
        import_dataset(folder, tmp_path / "out")
    (folder / "Labels.csv").unlink()
    with pytest.raises(DataError, match="columns text, labels; it lacks labels and has id, text, label"):
        import_dataset(folder, tmp_path / "out")


def test_train_is_needed_and_two_formats_are_one_too_many(source, tmp_path):
    folder = source()
    (folder / "labels.jsonl").write_text("")
    with pytest.raises(DataError, match="could be jsonl or csv"):
        import_dataset(folder, tmp_path / "out")
    (folder / "train.csv").unlink()
    with pytest.raises(DataError, match="has no train split: expected train"):
        import_dataset(folder, tmp_path / "out", format="csv")


def test_a_long_cell_is_read_and_the_limit_of_the_process_stays(source, tmp_path):
    before = csv.field_size_limit()
    folder = source(train=f"text,labels\n{'word ' * 60_000},a\n")
    import_dataset(folder, tmp_path / "out")
    assert len(load_dataset(tmp_path / "out").train.texts[0]) >= 299_999 and csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'"one\n\xff\nthree",a,b1,', "3: not UTF-8: byte 0xff at 0"),
        (b'"one\n\xff closes",a,b1,', "3: not UTF-8: byte 0xff at 0"),
        (b'"\xff opens\ntwo",a,b1,', "2: not UTF-8: byte 0xff at 1"),
        (b"\xff", "2: not UTF-8: byte 0xff at 0"),
    ],
)
def test_a_row_that_is_not_utf_8_goes_as_a_whole_and_no_other_changes(source, tmp_path, row, reason):
    folder = source()
    (folder / "train.csv").write_bytes(b"text,labels,id,other\n" + row + b'\n"four\nfive",7,q2,\n')
    with pytest.raises(DataError, match=rf"train\.csv:{reason}\. Save the file as UTF-8"):
        import_dataset(folder, tmp_path / "out")
    report = import_dataset(folder, tmp_path / "out", on_bad_row="skip")
    train = load_dataset(tmp_path / "out").train
    assert (train.ids, train.texts) == (["q2"], ["four\nfive"])
    assert report.tables["train"].skipped == {"not UTF-8": 1} and report.tables["train"].read == 2


def test_a_first_line_that_is_not_utf_8_is_refused(source, tmp_path):
    folder = source()
    (folder / "train.csv").write_bytes("text;labels;größe\nx;a;1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"train\.csv:1: not UTF-8: byte 0xf6 at 14\. Save the file as UTF-8"):
        import_dataset(folder, tmp_path / "out", on_bad_row="skip")


CELLS = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=8)


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1), delimiter=st.sampled_from([",", ";", "\t"]))
def test_cells_come_back_as_they_were_written(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("cells") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([("id", "text", "labels"), *rows])
    found = read_table_rows(path, ("id", "text"), table="t", tally=Tally("error"))
    assert [tuple(row.values()) for _, row in found] == rows


@pytest.mark.parametrize("cell", ["['a', '7']", "['a' '7']", "[1 2]", '["a" "7"]', "[ 'a'\n '7' ]"])
def test_a_list_as_python_or_numpy_prints_it_is_not_one_label(source, tmp_path, cell):
    quoted = cell.replace('"', '""')
    folder = source(train=f'text,labels\none,a\ntwo,"{quoted}"\n')
    (folder / "labels.csv").unlink()
    with pytest.raises(DataError) as caught:
        import_dataset(folder, tmp_path / "out")
    assert f"train.csv:3: 'labels' is a list in brackets, but not JSON: {cell!r}" in str(caught.value)
    report = import_dataset(folder, tmp_path / "out", on_bad_row="skip")
    assert load_dataset(tmp_path / "out").labels.ids == ["a"]
    assert (report.tables["labels"].read, report.tables["labels"].written) == (1, 1)


def test_without_labels_a_table_that_is_no_utf_8_is_told_so(source, tmp_path):
    folder = source(train="")
    (folder / "labels.csv").unlink()
    (folder / "train.csv").write_bytes("text,labels\ncafé,a\nthé,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"names a label \(.*train\.csv:2: not UTF-8.*\)\. .* are read as UTF-8"):
        import_dataset(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "mark"),
    [('one,"a, b"\ntwo,b\n', ","), ("one,a;b\ntwo,b\n", ";"), ('one,"a, b"\ntwo,b|c\n', ""), ("one,a\n", "")],
)
def test_labels_that_look_separated_by_other_marks_are_told(source, tmp_path, rows, mark):
    folder = source(train=f"text,labels\n{rows}")
    (folder / "labels.csv").unlink()
    said = f"every row has one label, and that of 1 row has a '{mark}' in it: if that separates labels, write '|'"
    notes = import_dataset(folder, tmp_path / "out").notes
    assert [note for note in notes if note.startswith("every row has one")] == ([said] if mark else [])


def test_a_label_that_is_several_by_its_looks_is_told_so(source, tmp_path):
    with pytest.raises(DataError, match=r"unknown label id 'a;7'\. Is that several labels\? CSV has a\|b for them"):
        import_dataset(source(train="text,labels\none,a;7\n"), tmp_path / "out")


@pytest.mark.parametrize(
    ("labels", "cell", "there"),
    [("7", "7.0", "7"), ("007", "7", "007"), ("007", "7.0", "007"), ("7", "07", "7"), ("7", "7.5", ""), ("x", "y", "")],
)
def test_a_number_that_a_program_wrote_anew_is_told_from_the_id(source, tmp_path, labels, cell, there):
    folder = source(labels=f"id,text\n{labels},Anton\n", train=f"text,labels\none,{cell}\n")
    with pytest.raises(DataError, match=rf"train\.csv:2: unknown label id '{cell}'\. ") as caught:
        import_dataset(folder, tmp_path / "out")
    said = f"There is a label '{there}': has a program read the ids as numbers? With pandas: dtype=str. Mend it, or"
    assert (said in str(caught.value)) == bool(there)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("pool", "There is a label 'Pool': an id must be the same letter for letter, small or capital."),
        ("swimming POOLS", "That is the text of the label 'Pool': write its id."),
        ("pools", "unknown label id 'pools'. Mend it"),
    ],
)
def test_a_label_that_is_named_in_other_letters_or_by_its_text_is_told(source, tmp_path, cell, said):
    folder = source(labels="id,text\nPool,Swimming pools\n", train=f"text,labels\none,{cell}\n")
    with pytest.raises(DataError) as caught:
        import_dataset(folder, tmp_path / "out")
    assert said in str(caught.value)


@pytest.mark.parametrize("cell", ["a|7|", "|a||7", "a| |7"])
def test_an_empty_place_between_labels_is_none(source, tmp_path, cell):
    import_dataset(source(train=f"text,labels\none,{cell}\n"), tmp_path / "out")
    assert load_dataset(tmp_path / "out").train.positives.label_rows.tolist() == [0, 1]


@pytest.mark.parametrize("labels", ["id,text\na,Anton\n", ""])
def test_a_table_without_rows_is_told_so(source, tmp_path, labels):
    folder = source(train="text,labels\n", labels=labels)
    if not labels:
        (folder / "labels.csv").unlink()
    with pytest.raises(DataError, match=r"has no (rows|query with a label)") as caught:
        import_dataset(folder, tmp_path / "out")
    assert "train" in caught.value.message and "a row for each query" in caught.value.hint


@pytest.mark.parametrize("rows", ["one,\n", "one,\"['a', 'b']\"\n", "one,[1.5]\n"])
def test_without_labels_a_table_that_names_none_is_told_how_to(source, tmp_path, rows):
    folder = source(train=f"text,labels\n{rows}")
    (folder / "labels.csv").unlink()
    with pytest.raises(
        DataError, match=r"no row of .*train\.csv names a label(, .*train\.csv:2 has .*)?\. A cell .* reads a\|b, or"
    ):
        import_dataset(folder, tmp_path / "out")


def test_without_labels_a_table_that_names_none_is_shown_what_it_has(source, tmp_path):
    folder = source(train="text,labels\none,\ntwo,\"['a', 'b']\"\n")
    (folder / "labels.csv").unlink()
    with pytest.raises(DataError, match=r"names a label, .*train\.csv:3 has \"\['a', 'b'\]\"\. A cell of the column"):
        import_dataset(folder, tmp_path / "out")


@pytest.mark.parametrize("label", ["[Na+].[Cl-]", "[4Fe-4S] cluster", "[x]"])
def test_other_labels_in_brackets_are_labels(source, tmp_path, label):
    folder = source(train=f"text,labels\none,{label}\n")
    (folder / "labels.csv").unlink()
    import_dataset(folder, tmp_path / "out")
    assert load_dataset(tmp_path / "out").labels.ids == [label]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (b"text,labels\rone,a\rtwo,b\r", "train.csv:1: not CSV: a carriage return without a line feed behind it"),
        (b"text,labels\none\rtwo,a\n", "train.csv:2: not CSV: a carriage return without a line feed behind it"),
    ],
)
def test_a_carriage_return_alone_is_said(source, tmp_path, train, message):
    folder = source()
    (folder / "train.csv").write_bytes(train)
    with pytest.raises(DataError, match=message):
        import_dataset(folder, tmp_path / "out")


def test_a_long_first_line_is_read(source, tmp_path):
    folder = source(train=f"text,labels,{'x' * 200_000}\none,a,1\n")
    import_dataset(folder, tmp_path / "out")
    assert load_dataset(tmp_path / "out").train.texts == ["one"]
