"""Invariants: `xmc labels` and `xmc search --allow` do what their functions do, from files of every form, and refuse
what does not fit together."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.label_metadata_files import read_label_file
from xmc.data.shards import read_table
from xmc.retrieve.passage_records import PassageRecords
from xmc.retrieve.retriever import Retriever


@pytest.fixture
def files(tmp_path):
    def write(name, *rows):
        path = tmp_path / name
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), path)
        else:
            path.write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_labels_are_edited_and_listed(xmc_command, tiny_run_copy, files):
    labels = files("new.jsonl", {"id": "x1", "text": "purple banana"}, {"id": 7, "text": "quartz"})
    code, out, err = xmc_command("labels", "add", labels, "--run", tiny_run_copy)
    assert code == 0 and not err
    assert out == "2 changed, 62 labels: 60 in the index, 2 added and 0 gone since it was built\n"
    code, out, _ = xmc_command(
        "labels", "replace", "--id", "x1", "--text", "[bold] banana", "--run", tiny_run_copy, "--json"
    )
    assert code == 0 and json.loads(out) == {
        "labels": 62,
        "base": 60,
        "added": 2,
        "removed": 0,
        "hint": "",
        "changed": 1,
        "changed_metadata": 0,
        "notes": [],
    }
    table = files("more.parquet", {"label_id": "L21", "text": "tram"}, {"label_id": "L22", "text": "zebra"})
    assert xmc_command("labels", "replace", table, "--run", tiny_run_copy)[0] == 0
    assert xmc_command("labels", "remove", files("gone.txt", "L00", " L01 ", ""), "--run", tiny_run_copy)[0] == 0
    assert xmc_command("labels", "remove", "--id", "L02", "--run", tiny_run_copy)[0] == 0
    code, out, _ = xmc_command("labels", "list", "--run", tiny_run_copy, "--json")
    listed = json.loads(out)
    assert {row["label"]: row["change"] for row in listed["changes"]} == {
        "L00": "removed",
        "L01": "removed",
        "L02": "removed",
        "L21": "replaced",
        "L22": "replaced",
        "x1": "added",
        "7": "added",
    }
    assert (listed["labels"], listed["added"], listed["removed"]) == (59, 4, 5)
    code, out, _ = xmc_command("labels", "list", "--run", tiny_run_copy)
    assert code == 0 and "[bold] banana" in out and "59 labels: 60 in the index" in out
    code, out, _ = xmc_command("info", tiny_run_copy, "--json")
    facts = json.loads(out)
    assert facts["labels"] == "59: 60 in the index, 4 added and 5 gone since" and "verified" in facts["labels folder"]
    code, out, _ = xmc_command("labels", "compact", "--run", tiny_run_copy)
    assert code == 0 and out.startswith("indexed 59 labels x 32 with 'exact'")
    code, out, _ = xmc_command("labels", "compact", "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["labels"] == 59
    code, out, _ = xmc_command("labels", "list", "--run", tiny_run_copy)
    assert code == 0 and out == "59 labels: 59 in the index, 0 added and 0 gone since it was built\n"


def test_a_label_that_nothing_finds_is_noted(xmc_command, tiny_run_copy):
    note = "the encoder knows no word of the text of 1 of these labels, such as 'x', which score 0 with every query."
    code, out, err = xmc_command("labels", "add", "--id", "x", "--text", "$", "--run", tiny_run_copy)
    assert code == 0 and out.startswith("1 changed, 61 labels") and err == f"note: {note}\n"
    code, out, err = xmc_command("labels", "put", "--id", "x", "--text", "€", "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["notes"] == [note] and not err


def test_labels_follow_a_file(xmc_command, tiny_run_copy, files):
    tiny = load_dataset("tiny").labels
    rows = [{"id": label_id, "text": text} for label_id, text in zip(tiny.ids, tiny.texts, strict=True)]
    catalogue = files("all.jsonl", {"id": "x1", "text": "quartz"}, {**rows[0], "text": "zebra"}, *rows[1:50])
    for changed in (12, 0):
        code, out, _ = xmc_command("labels", "sync", catalogue, "--run", tiny_run_copy, "--json")
        assert code == 0 and json.loads(out)["labels"] == 51 and json.loads(out)["changed"] == changed
    short = files("short.jsonl", *rows[:20])
    code, _, err = xmc_command("labels", "sync", short, "--run", tiny_run_copy)
    assert code == 2 and "would remove 31 of the run's 51 labels" in err and "--most-removed 1" in err
    assert xmc_command("labels", "sync", short, "--run", tiny_run_copy, "--most-removed", "0.7")[0] == 0
    code, out, _ = xmc_command("labels", "put", "--id", "x2", "--text", "mango", "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["labels"] == 21
    code, out, _ = xmc_command("labels", "remove", "--id", "x2", "--id", "x3", "--missing-ok", "--run", tiny_run_copy)
    assert code == 0 and out.startswith("1 changed, 20 labels: ")


def test_metadata_of_a_file_are_kept_beside_its_labels(xmc_command, tiny_run_copy, files):
    def edit(action, *rows, **options):
        flags = [each for name, value in options.items() for each in (f"--{name.replace('_', '-')}", value)]
        code, out, err = xmc_command(
            "labels", action, files("new.jsonl", *rows), "--run", tiny_run_copy, "--json", *flags
        )
        assert code == 0, err
        return json.loads(out)["notes"]

    def kept():
        return {each: record.metadata for each, record in PassageRecords(tiny_run_copy).current().by_id.items()}

    one, two = ({"id": name, "text": text} for name, text in (("x1", "quartz"), ("x2", "zebra")))
    notes = edit("add", {**one, "metadata": {"page": 3}, "url": "u"}, {**two, "metadata": {"page": 4}})
    assert notes[0].startswith("metadata of 2 labels are kept") and "not used were 'url'" in notes[1]
    assert kept() == {"x1": '{"page": 3}', "x2": '{"page": 4}'}
    assert edit("put", {**one, "text": "amber"}, two) == [] and kept() == {"x1": '{"page": 3}', "x2": '{"page": 4}'}
    file = files("new.jsonl", {**one, "metadata": {"page": 5}}, two)
    code, out, _ = xmc_command("labels", "replace", file, "--run", tiny_run_copy)
    assert code == 0 and out.startswith("1 changed, 2 with other metadata, 62 labels: ")
    assert kept() == {"x1": '{"page": 5}', "x2": "{}"}
    edit("sync", {**one, "metadata": {"page": 6}}, {"id": "x3", "text": "violin"}, most_removed=1)
    assert kept() == {"x1": '{"page": 6}', "x3": "{}"} and set(xmc.list_labels(tiny_run_copy)) == {"x1", "x3"}


def test_labels_go_back_to_an_earlier_version(xmc_command, tiny_run_copy, files):
    assert xmc_command("labels", "versions", "--run", tiny_run_copy) == (
        0,
        "no versions: the labels were never edited\n",
        "",
    )
    before = xmc_command("labels", "export", "--run", tiny_run_copy)[1]
    wrong = files("wrong.jsonl", *({"id": f"wrong {number}", "text": "quartz"} for number in range(30)))
    assert xmc_command("labels", "add", wrong, "--run", tiny_run_copy)[0] == 0
    code, out, _ = xmc_command("labels", "versions", "--run", tiny_run_copy)
    assert code == 0 and "v000000" in out and "before the first edit" in out and "v000002" in out and "90" in out
    code, out, err = xmc_command("labels", "rollback", "--to", "v000000", "--run", tiny_run_copy)
    assert (code, err) == (0, "")
    assert out == "30 changed, 60 labels: 60 in the index, 0 added and 0 gone since it was built\n"
    assert xmc_command("labels", "export", "--run", tiny_run_copy)[1] == before
    code, out, _ = xmc_command("labels", "versions", "--run", tiny_run_copy, "--json")
    versions = json.loads(out)["versions"]
    assert [(each["version"], each["labels"], each["current"]) for each in versions] == [
        ("v000000", 60, False),
        ("v000002", 90, False),
        ("v000003", 60, True),
    ]
    code, out, err = xmc_command("labels", "rollback", "--to", "v000002", "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["labels"] == 90 and json.loads(out)["hint"] and not err


@pytest.mark.parametrize("name", ["all.jsonl", "all.parquet", "all.arrow", "all.jsonl.gz", "all.xz"])
def test_what_is_exported_is_what_sync_takes(xmc_command, tiny_run_copy, tmp_path, name):
    edit = ("labels", "put", "--id", "L03", "--text", "grüne “Zebras”", "--run", tiny_run_copy)
    assert xmc_command(*edit)[0] == 0 and xmc_command("labels", "remove", "--id", "L04", "--run", tiny_run_copy)[0] == 0
    code, out, err = xmc_command("labels", "export", tmp_path / name, "--run", tiny_run_copy)
    assert (code, out, err) == (0, f"written: {tmp_path / name}, 59 labels\n", "")
    code, lines, _ = xmc_command("labels", "export", "--run", tiny_run_copy)
    printed = {row["id"]: row["text"] for row in map(json.loads, lines.splitlines())}
    assert code == 0 and printed == read_label_file(tmp_path / name).texts == xmc.list_labels(tiny_run_copy)
    assert printed["L03"] == "grüne “Zebras”" and "L04" not in printed and "L05" in printed
    code, out, _ = xmc_command("labels", "sync", tmp_path / name, "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out)["changed"] == 0
    code, _, err = xmc_command("labels", "export", tmp_path / name, "--run", tiny_run_copy)
    assert code == 2 and f"{name} is there already" in err
    code, out, _ = xmc_command("labels", "export", tmp_path / f"b-{name}", "--run", tiny_run_copy, "--json")
    assert code == 0 and json.loads(out) == {"file": str(tmp_path / f"b-{name}"), "labels": 59}


def test_a_large_share_of_edits_is_noted(xmc_command, tiny_run_copy, files):
    gone = files("gone.txt", *load_dataset("tiny").labels.ids[:10])
    code, _, err = xmc_command("labels", "remove", gone, "--run", tiny_run_copy)
    assert code == 0 and "note: 0 labels stand beside the 60" in err and "xmc labels compact" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sort"], "'sort' is not one of add, put, replace, remove, sync, versions, rollback, compact, list, export."),
        (["versions", "--id", "L00"], "xmc labels versions takes neither labels nor a file."),
        (["rollback", "v000001"], "xmc labels rollback takes neither labels nor a file."),
        (["rollback"], "xmc labels rollback needs --to, a version."),
        (["add", "new.jsonl", "--to", "v000001"], "--to is for rollback, not for add."),
        (["rollback", "--to", "v000001"], "there is no version 'v000001' of the labels"),
        (["ad", "--id", "x"], "Did you mean 'add'?"),
        (["add"], "xmc labels add needs either a file or --id."),
        (["add", "new.jsonl", "--id", "x", "--text", "y"], "xmc labels add needs either a file or --id."),
        (["add", "--id", "x"], "--id and --text go together"),
        (["add", "--id", "x", "--id", "y", "--text", "z"], "--id and --text go together"),
        (["remove", "--id", "L00", "--text", "z"], "--id and --text go together"),
        (["list", "--id", "L00"], "xmc labels list takes neither labels nor a file."),
        (["export", "--id", "L00"], "xmc labels export takes no --id."),
        (["export", "x.csv/", "--text", "z"], "xmc labels export takes no --id."),
        (["sync", "--id", "x", "--text", "y"], "xmc labels sync takes a file with all labels."),
        (["put", "--id", "x"], "--id and --text go together"),
        (["add", "new.jsonl", "--missing-ok"], "--missing-ok is for remove, not for add."),
        (["put", "new.jsonl", "--most-removed", "1"], "--most-removed is for sync, not for put."),
        (["list", "--device", "bogus"], "--device is for compact, not for list."),
        (["add", "new.jsonl", "--device", "cpu"], "--device is for compact, not for add."),
        (["sync", "new.jsonl", "--most-removed", "2"], "should be less than or equal to 1"),
        (["add", "nowhere.jsonl"], "there is no file nowhere.jsonl."),
        (["add", "--id", "L00", "--text", "z"], "1 label is there already: 'L00'."),
    ],
)
def test_arguments_that_do_not_fit_are_refused(xmc_command, tiny_run, arguments, message):
    code, out, err = xmc_command("labels", *arguments, "--run", tiny_run)
    assert code == 2 and not out and message in err


def test_files_that_cannot_be_read_are_refused_by_row(xmc_command, tiny_run, files):
    for name, rows, message in (
        ("a.jsonl", [{"id": "x", "text": "y"}, {"id": "x", "text": "z"}], "a.jsonl:2: label 'x' stands there twice"),
        ("b.jsonl", [{"id": "x"}], "b.jsonl:1: no key 'text': it has id"),
        ("c.jsonl", ["no json"], "c.jsonl:1: not JSON"),
        ("d.parquet", [{"id": "x"}], "no column named 'label_id'"),
    ):
        code, _, err = xmc_command("labels", "add", files(name, *rows), "--run", tiny_run)
        assert code == 2 and message in err and "--on-bad-row" not in err
    for name, rows, message in (
        ("e.jsonl", [{"id": 0.5}], "e.jsonl:1: 'id' must be a string or a whole number"),
        ("f.parquet", [{"id": "x"}], "column 'label_id' is missing"),
        (
            "g.parquet",
            [{"label_id": "x"}, {"label_id": None}],
            "row 1 of 'label_id' must be a string or a whole number",
        ),
        ("h.parquet", [{"label_id": 1.0}], "row 0 of 'label_id' must be a string or a whole number, got 1.0"),
        ("i.parquet", [{"label_id": ""}], "row 0 of 'label_id' must be"),
    ):
        code, _, err = xmc_command("labels", "remove", files(name, *rows), "--run", tiny_run)
        assert code == 2 and message in err


def test_a_search_among_allowed_labels(xmc_command, tiny_run, files):
    retriever, ids = Retriever.load(tiny_run), [f"L{number:02d}" for number in range(5, 20)]
    wanted = [hit._asdict() for hit in retriever.search(["tender tram"], k=4, allowed=ids)[0]]
    for path in (
        files("ids.txt", *ids),
        files("ids.jsonl", *({"id": label_id} for label_id in ids)),
        files("ids.parquet", *({"label_id": label_id} for label_id in ids)),
    ):
        code, out, _ = xmc_command("search", "tender tram", "--run", tiny_run, "-k", 4, "--allowed", path, "--json")
        assert code == 0 and json.loads(out)["hits"] == wanted
    options = ["--allow", "L05", "--allow", "L07"]
    code, out, _ = xmc_command("search", "tender tram", "--run", tiny_run, *options, "--json")
    assert code == 0 and {hit["label_id"] for hit in json.loads(out)["hits"]} == {"L05", "L07"}
    code, _, err = xmc_command("search", "tender tram", "--run", tiny_run, "--allow", "nope")
    assert code == 2 and "1 of the allowed labels is not there: 'nope'" in err
    code, out, _ = xmc_command("search", "tender tram", "--run", tiny_run, "--allowed", files("none.txt"))
    assert code == 0 and out == "no label is allowed\n"


def test_a_batch_among_allowed_labels(xmc_command, tiny_run, files, tmp_path):
    ids, out = [f"L{number:02d}" for number in range(5, 20)], tmp_path / "hits"
    wanted = [hit.label_id for hit in Retriever.load(tiny_run).search(["tender tram"], k=4, allowed=ids)[0]]
    queries = files("q.parquet", {"query_id": "q", "text": "tender tram"})
    predict = ["predict", "--run", tiny_run, "--shards", queries, "--out", out, "-k", 4, "--workers", 1]
    search = ["search", "--run", tiny_run, "--queries", queries, "--out", out, "-k", 4]
    named = [word for label_id in ids[1:] for word in ("--allow", label_id)]
    code, _, err = xmc_command(*predict, "--allowed", files("ids.txt", *ids))
    assert code == 0, err
    assert read_table(out / "q.parquet", kind="hits")["label_ids"].to_pylist() == [wanted]
    written = [*search, *named, "--allowed", files("one.jsonl", {"id": ids[0]}), "--json"]
    code, printed, _ = xmc_command(*written)
    assert code == 0 and json.loads(printed)["skipped"] == 1, "the same ids by another way are the same job"
    code, _, err = xmc_command(*search, *named)
    assert code == 2 and "holds the output of another job: another filter of labels" in err
    code, printed, _ = xmc_command(*predict, "--allowed", out / "_allowed.jsonl", "--json")
    assert code == 0 and json.loads(printed)["skipped"] == 1, "the file in the output is one that --allowed reads"
    for options, message in (
        (["--allowed", files("none.txt")], "the filter allows no label"),
        (["--allowed", files("two.txt", "L05", "nope")], "1 of the allowed labels is not there: 'nope'"),
        (["--allowed", tmp_path / "absent"], "there is no file"),
    ):
        code, _, err = xmc_command(*predict[:6], tmp_path / "refused", *options)
        assert code == 2 and message in err and not (tmp_path / "refused").exists()
