"""Invariants: a command that is refused leaves the folder as it was; only the very input counts as answered; what has
changed, moved or gone is said, and there is a way on for each."""

import json
import os
import shutil
import signal

import pytest
from predict_cases import contents, queries, require_complete, write_few

import xmc
from xmc import predict_run
from xmc.errors import ArtifactError, ConfigError, DeviceError, InterruptedRunError, PluginError
from xmc.predict import ledger

OPTIONS = {"k": 2, "workers": 1}


@pytest.fixture
def predicted(tiny_run, tmp_path):
    """Two shards and their hits."""
    folder = write_few(tmp_path / "in", ("a", "b"))
    predict_run(tiny_run, str(folder), tmp_path / "out", **OPTIONS)
    return folder, tmp_path / "out"


def acks(out):
    return {path.name: json.loads(path.read_text()) for path in (out / "_acks").iterdir()}


@pytest.mark.parametrize("change", ["an input", "the place", "k"])
def test_what_is_refused_leaves_all_as_it_was(tiny_run, predicted, change):
    folder, out = predicted
    before = contents(out)
    options = dict(OPTIONS)
    if change == "an input":
        os.utime(folder / "a.parquet", ns=(0, 0))
    elif change == "the place":
        folder = folder.rename(folder.with_name("elsewhere"))
    else:
        options["k"] = 1
    with pytest.raises(ConfigError):
        predict_run(tiny_run, str(folder), out, **options)
    assert contents(out) == before
    require_complete(out)


@pytest.mark.parametrize("missing", ["the device", "a plugin"])
def test_what_no_worker_can_open_overwrites_nothing(tiny_run, predicted, monkeypatch, missing):
    folder, out = predicted
    before = contents(out)
    if missing == "a plugin":
        monkeypatch.setenv("XMC_DISABLED_PLUGINS", "exact")
    device, error = ("auto", PluginError) if missing == "a plugin" else ("cuda:99", DeviceError)
    with pytest.raises(error):
        predict_run(tiny_run, str(folder), out, overwrite=True, device=device, **OPTIONS)
    assert contents(out) == before


@pytest.mark.parametrize("what", ["the folder", "an output"])
def test_what_is_removed_meanwhile_is_no_success(tiny_run, tmp_path, what):
    folder, out = write_few(tmp_path / "in", ("a", "b", "c")), tmp_path / "out"

    def remove(progress):
        if progress.shards == 1 and (out / "a.parquet").exists():
            shutil.rmtree(out) if what == "the folder" else (out / "a.parquet").unlink()

    message = r"_job\.json is gone" if what == "the folder" else r"1 of 3 outputs were removed .*such as .*a\.parquet"
    with pytest.raises(ArtifactError, match=message):
        predict_run(tiny_run, folder, out, on_progress=remove, **OPTIONS)
    assert not (out / "_SUCCESS").exists() and not (out / "_manifest.jsonl").exists()
    assert predict_run(tiny_run, folder, out, overwrite=what == "the folder", **OPTIONS).rows == 15
    require_complete(out)


def test_what_has_changed_is_done_again_and_nothing_else(tiny_run, predicted):
    folder, out = predicted
    untouched = (out / "b.parquet").stat().st_mtime_ns
    write_few(folder, ("a",), rows=7)
    with pytest.raises(ConfigError, match=r"a\.parquet is not the file whose hits are in .*--redo-changed"):
        predict_run(tiny_run, str(folder), out, **OPTIONS)
    report = predict_run(tiny_run, str(folder), out, redo_changed=True, **OPTIONS)
    assert (report.skipped, report.rows_now, report.rows) == (1, 7, 12)
    assert (out / "b.parquet").stat().st_mtime_ns == untouched
    assert [line["rows"] for line in require_complete(out)] == [7, 5]
    assert predict_run(tiny_run, str(folder), out, **OPTIONS).skipped == 2


def test_another_file_of_the_same_name_size_and_time_is_not_taken_for_it(tiny_run, tmp_path):
    for name in ("one", "two"):
        write_few(tmp_path / name)
        os.utime(tmp_path / name / "a.parquet", ns=(5, 5))
    out = tmp_path / "out"
    predict_run(tiny_run, f"{tmp_path}/one/*.parquet", out, **OPTIONS)
    with pytest.raises(
        ConfigError, match=r"hits of .*/one/a\.parquet, which lay elsewhere than .*/two/a\.parquet.*--moved"
    ):
        predict_run(tiny_run, f"{tmp_path}/two/*.parquet", out, **OPTIONS)
    assert predict_run(tiny_run, f"{tmp_path}/two/*.parquet", out, redo_changed=True, **OPTIONS).skipped == 0
    assert acks(out)["a.parquet.json"]["location"] == str(tmp_path / "two" / "a.parquet")


def test_moved_inputs_are_told_once(tiny_run, predicted):
    folder, out = predicted
    folder = folder.rename(folder.with_name("elsewhere"))
    assert predict_run(tiny_run, str(folder), out, moved=True, **OPTIONS).skipped == 2
    assert predict_run(tiny_run, str(folder), out, **OPTIONS).skipped == 2
    assert {line["location"] for line in require_complete(out)} == {str(path) for path in folder.iterdir()}


def test_acknowledgements_without_a_place_stay_valid(tiny_run, predicted):
    folder, out = predicted
    for name, ack in acks(out).items():
        del ack["location"]
        (out / "_acks" / name).write_text(json.dumps(ack))
    assert predict_run(tiny_run, str(folder), out, **OPTIONS).skipped == 2
    assert all(ack["location"] for ack in acks(out).values())


def test_an_acknowledgement_that_a_loss_of_power_has_torn_counts_as_none(tiny_run, predicted):
    folder, out = predicted
    whole = (out / "_acks" / "a.parquet.json").read_bytes()
    for torn in (b"", bytes(len(whole)), whole[:40] + bytes(len(whole) - 40)):
        (out / "_acks" / "a.parquet.json").write_bytes(torn)
        assert predict_run(tiny_run, str(folder), out, **OPTIONS).skipped == 1
        assert (out / "_acks" / "a.parquet.json").read_bytes() == whole
        require_complete(out)


def test_what_is_no_longer_named_is_noted(tiny_run, predicted):
    folder, out = predicted
    (folder / "b.parquet").unlink()
    report = predict_run(tiny_run, str(folder), out, **OPTIONS)
    assert report.shards == 1 and len(require_complete(out)) == 2
    assert report.notes[-1].startswith("1 shard of earlier calls is not among these --shards; the hits stay")
    (out / "b.parquet").write_text("damaged")
    report = predict_run(tiny_run, str(folder), out, **OPTIONS)
    assert report.notes[-1].startswith("1 shard of earlier calls is not in the manifest any more: the hits are gone")
    assert "b.parquet" not in (out / "_manifest.jsonl").read_text()


@pytest.mark.parametrize("pattern", ["", "/**/*.parquet"])
def test_an_output_among_the_shards_is_refused_at_once(tiny_run, tmp_path, pattern):
    folder = write_few(tmp_path / "in")
    with pytest.raises(ConfigError, match="lies among the --shards"):
        predict_run(tiny_run, f"{folder}{pattern}", folder / "hits", **OPTIONS)
    assert [path.name for path in folder.iterdir()] == ["a.parquet"]
    for _ in range(2):
        assert predict_run(tiny_run, f"{folder}{pattern}", folder / "_hits", **OPTIONS).shards == 1


def test_earlier_hits_and_the_run_are_no_queries(tiny_run, predicted, tmp_path):
    folder, _ = predicted
    (tmp_path / "run").symlink_to(tiny_run)
    report = predict_run(tiny_run, tmp_path, folder / "_hits", **OPTIONS)
    assert (report.shards, report.rows) == (2, 10)
    assert "2 with hits of xmc predict" in report.notes[0] and "parts of a run" in report.notes[0]


def test_an_output_that_is_a_file_is_refused(tiny_run, tmp_path):
    folder, out = write_few(tmp_path / "in"), tmp_path / "notes.txt"
    out.write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt is a file, expected a folder for the hits"):
        predict_run(tiny_run, folder, out, **OPTIONS)
    assert out.read_text() == "mine"


def test_an_output_in_the_run_is_refused(tiny_run, tmp_path):
    folder, before = write_few(tmp_path / "in"), {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    (tmp_path / "link").symlink_to(tiny_run)
    for out in (tiny_run, tiny_run / "index", tmp_path / "link" / "hits"):
        with pytest.raises(ConfigError, match=r"lies in the run folder .*, whose files are those of xmc train"):
            predict_run(tiny_run, folder, out, overwrite=True, **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before


def test_queries_are_not_overwritten_through_a_link(tiny_run, tmp_path):
    """Under another name of their folder they are still the queries."""
    folder = write_few(tmp_path / "in")
    (tmp_path / "link").symlink_to(folder)
    before = contents(folder)
    for shards, out in ((tmp_path / "link", folder), (folder, tmp_path / "link")):
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match="would overwrite queries in"):
                predict_run(tiny_run, shards, out, overwrite=overwrite, **OPTIONS)
    with pytest.raises(ConfigError, match="lies among the --shards"):
        predict_run(tiny_run, tmp_path / "link", folder / "hits", **OPTIONS)
    assert contents(folder) == before


def test_an_output_folder_without_a_name_is_not_the_present_one(tiny_run, tmp_path, monkeypatch):
    folder = write_few(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="the name of the output folder is empty"):
        predict_run(tiny_run, folder, "", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def stop_at(monkeypatch, module, name):
    """Let a signal come at the first call of a function; returns what the calls were given."""
    calls, action = [], getattr(module, name)

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return action(*arguments)

    monkeypatch.setattr(module, name, stopping)
    return calls


def test_a_signal_ends_the_look_at_what_is_done(tiny_run, predicted, monkeypatch):
    """Which reads every output that is there, and may take as long as they are large."""
    folder, out = predicted
    before = contents(out)
    with monkeypatch.context() as patch:
        read = stop_at(patch, ledger, "sha256_of")
        with pytest.raises(InterruptedRunError, match="while it looked at what is done") as raised:
            predict_run(tiny_run, folder, out, **OPTIONS)
        assert len(read) == 1 and raised.value.exit_code == 128 + signal.SIGTERM
    assert contents(out) == before
    for name in ("a", "b"):
        (folder / f"{name}.parquet").unlink()
    write_few(folder, ("c",))
    with monkeypatch.context() as patch:
        read = stop_at(patch, ledger, "sha256_of")
        with pytest.raises(InterruptedRunError, match="1 of 1 shard is done"):
            predict_run(tiny_run, folder, out, **OPTIONS)
        assert len(read) == 1
    assert predict_run(tiny_run, folder, out, **OPTIONS).skipped == 1
    assert len(require_complete(out)) == 3


def test_what_is_said_to_go_on_goes_on(tiny_run, predicted):
    """With --overwrite the same command would begin anew."""
    folder, out = predicted

    def stop(progress):
        if progress.shards == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError) as raised:
        predict_run(tiny_run, folder, out, overwrite=True, on_progress=stop, **OPTIONS)
    assert raised.value.hint == "Started again without --overwrite, it goes on."
    assert predict_run(tiny_run, folder, out, **OPTIONS).skipped == 1
    require_complete(out)


def test_several_shards_and_what_was_left_out(tiny_run, tmp_path):
    folder = write_few(tmp_path / "in", ("a", "b", "c"))
    (folder / "d.pq").write_text("")
    named = [str(folder / "b.parquet"), f"{folder}/a*"]
    assert predict_run(tiny_run, named, tmp_path / "out", **OPTIONS).shards == 2
    assert [line["name"] for line in require_complete(tmp_path / "out")] == ["a.parquet", "b.parquet"]
    report = predict_run(tiny_run, str(folder), tmp_path / "out", **OPTIONS)
    assert report.skipped == 2 and report.notes == (f"left out of {folder}: 1 with the ending .pq.",)
    other = write_few(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"would both write .*/a\.parquet\. Name a folder or pattern above both"):
        predict_run(tiny_run, [str(folder), str(other)], tmp_path / "out", **OPTIONS)
    (other / "a.arrow").write_text("")
    with pytest.raises(ConfigError, match=r"would both write .*/a\.parquet\. Rename one of them"):
        predict_run(tiny_run, other, tmp_path / "out", **OPTIONS)


def test_edits_of_the_labels_are_named(tiny_run_copy, tmp_path):
    folder = write_few(tmp_path / "in")
    predict_run(tiny_run_copy, str(folder), tmp_path / "out", **OPTIONS)
    xmc.add_labels(tiny_run_copy, {"new": "tender tram"})
    with pytest.raises(ConfigError, match=r"another job: other edits of the labels \(xmc labels\), none there\."):
        predict_run(tiny_run_copy, str(folder), tmp_path / "out", **OPTIONS)
    predict_run(tiny_run_copy, str(folder), tmp_path / "out", overwrite=True, **OPTIONS)
    require_complete(tmp_path / "out")


def test_overwrite_replaces_also_what_this_job_has_done(tiny_run, predicted):
    folder, out = predicted
    shutil.rmtree(folder)
    write_few(folder, ("b",), rows=3)
    assert predict_run(tiny_run, str(folder), out, overwrite=True, **OPTIONS).rows_now == 3
    assert [line["name"] for line in require_complete(out)] == ["b.parquet"]
    assert queries(3).num_rows == 3
