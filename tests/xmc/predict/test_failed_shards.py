"""Invariants: every shard that cannot be answered is named, in a file, in JSON and on the terminal; the others are
done; with --skip-failed the folder is finished without them, and says so."""

import json
import os
import signal

import forked
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from predict_cases import contents, queries, require_complete, write_few

from xmc import predict_run
from xmc.errors import DataError, InterruptedRunError
from xmc.predict.report import FailedShardsError

BAD = [f"bad-{number}" for number in range(23)]
OPTIONS = {"k": 2, "workers": 1}


@pytest.fixture
def folder(tmp_path):
    """Two good shards and many that are none."""
    folder = write_few(tmp_path / "in", ("a", "b"))
    for name in BAD:
        (folder / f"{name}.parquet").write_text("no table")
    return folder


def listed(out):
    return [json.loads(line) for line in (out / "_failures.jsonl").read_text().splitlines()]


def test_every_one_is_named_and_tried_again(tiny_run, folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        FailedShardsError, match=r"23 of 25 shards .*\(and 22 more, all in .*_failures\.jsonl\)"
    ) as raised:
        predict_run(tiny_run, str(folder), out, **OPTIONS)
    report = raised.value.report
    names = [f"{name}.parquet" for name in BAD]
    assert [failure["name"] for failure in report.failures] == names
    assert sorted(failure["location"] for failure in listed(out)) == sorted(str(folder / name) for name in names)
    assert all("cannot be read" in failure["error"] and failure["hint"] for failure in listed(out))
    assert (report.shards, report.rows) == (25, 10) and not (out / "_SUCCESS").exists()
    for name in BAD:
        write_few(folder, (name,))
    assert predict_run(tiny_run, str(folder), out, **OPTIONS).skipped == 2
    assert len(require_complete(out)) == 25  # and the list is gone


def test_finished_without_them(tiny_run, folder, tmp_path):
    out = tmp_path / "out"
    report = predict_run(tiny_run, str(folder), out, skip_failed=True, **OPTIONS)
    assert len(report.failures) == len(listed(out)) == 23 and report.rows == 10
    assert (out / "_failures.jsonl").exists()
    (out / "_failures.jsonl").rename(tmp_path / "failures")
    assert [line["name"] for line in require_complete(out)] == ["a.parquet", "b.parquet"]
    again = predict_run(tiny_run, str(folder), out, skip_failed=True, **OPTIONS)
    assert again.skipped == 2 and again.failures == report.failures
    assert (out / "_failures.jsonl").read_bytes() == (tmp_path / "failures").read_bytes()


def test_they_stay_named_until_they_are_tried_again(tiny_run, folder, tmp_path):
    out, other = tmp_path / "out", write_few(tmp_path / "other", ("c",))
    predict_run(tiny_run, folder, out, skip_failed=True, **OPTIONS)
    before = listed(out)
    predict_run(tiny_run, other, out, **OPTIONS)
    assert listed(out) == before
    write_few(folder, ("bad-0",))
    (other / "d.parquet").write_text("no table")
    predict_run(tiny_run, [f"{other}/d*", f"{folder}/bad-0.*", f"{other}/c*"], out, skip_failed=True, **OPTIONS)
    names = {failure["name"] for failure in before}
    assert {failure["name"] for failure in listed(out)} == names - {"bad-0.parquet"} | {"d.parquet"}
    predict_run(tiny_run, f"{folder}/a.*", out, overwrite=True, **OPTIONS)
    assert not (out / "_failures.jsonl").exists()


def test_damaged_hits_that_cannot_be_made_again_do_not_stay(tiny_run, tmp_path):
    """Beside `_SUCCESS` they would be read."""
    folder, out = write_few(tmp_path / "in", ("a", "b")), tmp_path / "out"
    predict_run(tiny_run, folder, out, **OPTIONS)
    (out / "a.parquet").write_text("damaged")
    state = (folder / "a.parquet").stat()
    (folder / "a.parquet").write_bytes(b"x" * state.st_size)
    os.utime(folder / "a.parquet", ns=(0, state.st_mtime_ns))
    report = predict_run(tiny_run, folder, out, skip_failed=True, **OPTIONS)
    assert [failure["name"] for failure in report.failures] == ["a.parquet"]
    assert [path.name for path in out.glob("*.parquet")] == ["b.parquet"]


def test_nothing_but_failures_is_no_success(tiny_run, folder, tmp_path):
    with pytest.raises(FailedShardsError, match="23 of 23"):
        predict_run(tiny_run, f"{folder}/bad*", tmp_path / "out", skip_failed=True, **OPTIONS)
    assert set(contents(tmp_path / "out")) == {"_job.json", "_failures.jsonl"}


def test_a_file_that_cannot_be_opened_is_one_failure(tiny_run, tmp_path, monkeypatch):
    """The file is a link to itself from the moment it was listed: refused to root as well."""
    from xmc.predict import inputs

    folder = write_few(tmp_path / "in", ("a", "b"))
    listing = inputs.list_shards(str(folder))
    (folder / "a.parquet").unlink()
    (folder / "a.parquet").symlink_to("a.parquet")
    monkeypatch.setattr(inputs, "list_shards", lambda named: listing)
    with pytest.raises(DataError, match=r"1 of 2 shards .*a\.parquet cannot be opened.*May this user read it\?"):
        predict_run(tiny_run, str(folder), tmp_path / "out", **OPTIONS)
    assert (tmp_path / "out" / "b.parquet").exists()


def test_the_command_names_them(tiny_run, folder, tmp_path):
    command = ["predict", "--run", tiny_run, "--shards", folder, "--out", tmp_path / "out", "-k", "2", "--workers", "1"]
    shown = forked.run(forked.xmc, *command)
    assert shown.returncode == 2 and shown.stderr.count("failed: ") == 21 and "failed: 3 more" in shown.stderr
    done = forked.run(forked.xmc, *command, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 2 and len(report["failures"]) == 23 and "23 of 23 shards" in done.stderr
    assert "leave them out: --skip-failed" in done.stderr
    skipped = forked.run(forked.xmc, *command, "--skip-failed")
    assert skipped.returncode == 0 and "note: 23 shards are left out; see _failures.jsonl" in skipped.stderr


def test_a_table_without_queries_is_a_failure_too(tiny_run, tmp_path):
    folder = write_few(tmp_path / "in")
    pq.write_table(pa.table({"other": [1]}), folder / "c.parquet")
    report = predict_run(tiny_run, str(folder), tmp_path / "out", skip_failed=True, **OPTIONS)
    assert "column 'query_id' is missing" in report.failures[0]["error"]


def test_those_known_before_a_signal_are_named_too(tiny_run, folder, tmp_path):
    def interrupt(progress):
        if progress.failed:
            os.kill(os.getpid(), signal.SIGTERM)

    (folder / "bad-0.parquet").rename(folder / "0-bad.parquet")  # the first
    with pytest.raises(InterruptedRunError):
        predict_run(tiny_run, str(folder), tmp_path / "out", on_progress=interrupt, **OPTIONS)
    assert [failure["name"] for failure in listed(tmp_path / "out")] == ["0-bad.parquet"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_rows_of_a_shard_that_fails_in_the_middle_do_not_count(tiny_run, tmp_path, workers):
    folder = write_few(tmp_path / "in", ("a", "b"))
    with pa.OSFile(str(folder / "c.arrow"), "wb") as file, pa.ipc.new_stream(file, queries(9).schema) as writer:
        writer.write_table(queries(9))
    (folder / "c.arrow").write_bytes((folder / "c.arrow").read_bytes()[:-8])  # its end, missed when all rows are read
    heard = []

    def hear(progress):
        heard.append((progress.rows, progress.size, progress.shards, progress.failed))

    options = {"k": 2, "batch_rows": 3, "workers": workers, "skip_failed": True, "on_progress": hear}
    report = predict_run(tiny_run, folder, tmp_path / "out", **options)
    assert max(rows for rows, *_ in heard) > report.rows == 10  # they were heard of
    assert heard[-1] == (10, sum(path.stat().st_size for path in folder.iterdir()), 2, 1)


def test_that_no_row_has_hits_is_said(tiny_run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    table = pa.table({"query_id": ["a", "b", "c"], "embedding": [[1.0], [1.0, 2.0], None]})
    pq.write_table(table, folder / "a.parquet")
    report = predict_run(tiny_run, str(folder), tmp_path / "out", **OPTIONS)
    assert any(note.startswith("no row has hits: 1 are 'null', 2 are 'wrong-width'") for note in report.notes)
    write_few(folder, ("b",))
    again = predict_run(tiny_run, str(folder), tmp_path / "out", **OPTIONS)
    assert not any("no row has hits" in note for note in again.notes)
