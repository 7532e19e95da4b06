"""`xmc import` prints what it did for people and for machines."""

import json

import pytest
from typer.testing import CliRunner

from xmc.cli.main import app
from xmc.data.dataset import load_dataset
from xmc.errors import ConfigError, DataError


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "labels.jsonl").write_text('{"id": "a", "text": "Anton"}\n')
    rows = ['{"id": "q", "text": "one", "labels": ["a", "a", "z"]}', '{"id": "q", "text": "two", "labels": ["a"]}']
    (folder / "train.jsonl").write_text("\n".join(rows))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_for_people(tmp_path, source):
    result = run(source, "--out", tmp_path / "out", "--on-bad-row", "skip")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"{source} (jsonl) -> {tmp_path / 'out'}",
        "  labels: 1 row read, 1 kept, 0 skipped",
        "  train: 2 rows read, 1 kept, 1 skipped",
        "    1 x query id stands twice",
        f"    {source}/train.jsonl:2: query id stands twice: 'q'",
        "  1 unknown label id, 1 positive left out: 'z' (1 time)",
        "  1 label stood twice in a query and was merged",
        "  every training query has the label 'a' and no other: there is nothing to tell apart",
        f"next: xmc train --data {tmp_path / 'out'} --out runs/out",
    ]
    assert load_dataset(tmp_path / "out").train.ids == ["q"]


def test_positives_of_skipped_labels_are_not_told_as_of_labels_that_the_source_does_not_name(tmp_path, source):
    with (source / "labels.jsonl").open("a") as file:
        file.write('{"id": "z", "text": ""}\n')
    result = run(source, "--out", tmp_path / "out", "--on-bad-row", "skip")
    assert "  1 unknown or skipped label id, 1 positive left out: 'z' (1 time)" in result.output
    assert load_dataset(tmp_path / "out").labels.ids == ["a"]


def test_a_path_with_a_blank_is_quoted_in_the_command_that_comes_next(tmp_path, source):
    out = tmp_path / "my data"
    said = run(source, "--out", out, "--on-bad-row", "skip").output.splitlines()[-1]
    assert said == f"next: xmc train --data '{out}' --out 'runs/my data'"


def test_the_recipe_that_suits_the_data_is_in_the_command_that_comes_next(tmp_path, source):
    row = {"text": "word " * 60, "labels": ["a", "b"]}
    (source / "train.jsonl").write_text("\n".join(json.dumps({"id": str(number), **row}) for number in range(3)))
    (source / "labels.jsonl").unlink()
    said = run(source, "--out", tmp_path / "long").output
    assert f"next: xmc train --plugin linear.fused --data {tmp_path / 'long'} --out runs/long" in said
    assert json.loads((tmp_path / "long" / "import.json").read_text())["recipe"] == "linear.fused"


def test_for_machines(tmp_path, source):
    result = run(source, "--out", tmp_path / "out", "--on-bad-row", "skip", "--format", "jsonl", "--json")
    assert json.loads(result.output) == json.loads((tmp_path / "out" / "import.json").read_text())
    result = run(source, "--out", tmp_path / "out", "--on-bad-row", "skip")
    assert isinstance(result.exception, DataError)
    assert run(source, "--out", tmp_path / "out", "--on-bad-row", "skip", "--overwrite").exit_code == 0


def test_bad_row_stops(tmp_path, source):
    result = run(source, "--out", tmp_path / "out")
    assert isinstance(result.exception, DataError)
    assert "train.jsonl:1: unknown label id 'z'" in str(result.exception)
    assert isinstance(run(source, "--out", tmp_path / "out", "--on-bad-row", "ignore").exception, ConfigError)


def test_a_lone_surrogate_is_written_out(tmp_path, source):
    rows = [
        '{"id": "q", "text": "one", "labels": ["a", "\\ud800"]}',
        '{"id": "r", "te\\udfffxt": "two", "labels": ["a"]}',
    ]
    (source / "train.jsonl").write_text("\n".join(rows))
    result = run(source, "--out", tmp_path / "out", "--on-bad-row", "skip", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "import.json").read_text(encoding="utf-8"))
    assert report == json.loads(result.output)
    assert report["unknown_label_ids"]["most_frequent"] == {"\\ud800": 1}
    assert "it has id, te\\udfffxt, labels" in report["tables"]["train"]["examples"][0]


@pytest.mark.parametrize("name", ["dev.jsonl.zst", "Dev.jsonl", "validation.csv", "dev.json"])
def test_a_file_that_looks_like_a_split_and_is_not_read_is_told(tmp_path, source, name):
    (source / "train.jsonl").write_text('{"id": "q", "text": "one", "labels": ["a"]}')
    (source / name).write_text("x")
    said = run(source, "--out", tmp_path / "out", "--format", "jsonl").output
    assert f"  {name} is not imported: expected train.jsonl and, if there are, labels.jsonl, dev.jsonl" in said
    (source / name).unlink()
    assert "is not imported" not in run(source, "--out", tmp_path / "out2").output
