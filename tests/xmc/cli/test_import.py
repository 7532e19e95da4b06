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
        "  labels: 1 rows read, 1 kept, 0 skipped",
        "  train: 2 rows read, 1 kept, 1 skipped",
        "    1 x query id stands twice",
        f"    {source}/train.jsonl:2: query id stands twice: 'q'",
        "  1 unknown label ids, 1 positives left out: 'z' (1 times)",
        "  1 labels stood twice in a query and were merged",
    ]
    assert load_dataset(tmp_path / "out").train.ids == ["q"]


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
