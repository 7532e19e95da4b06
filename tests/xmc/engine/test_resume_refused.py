"""Invariants: a checkpoint is not continued with other data, settings or threads, the error says which, and a refusal
changes nothing."""

import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch
from resume_cases import BASE, StopAt, final_bits, stop_after, train

import xmc
from xmc.data.shards import read_table, write_table
from xmc.engine.devices import choose_device
from xmc.errors import ArtifactError, ConfigError, InterruptedRunError
from xmc.train.checkpoint import open_store


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The final bits of an uninterrupted run."""
    run = tmp_path_factory.mktemp("uninterrupted")
    train(run)
    return final_bits(run)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    run = tmp_path_factory.mktemp("stopped") / "run"
    stop_after(run, 6, ())
    return run


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A run that was stopped half-way."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def test_other_settings_are_refused_by_name(stopped, expected):
    configuration = (stopped / "config.toml").read_bytes()
    for setting, message in [
        ("train.learning_rate=0.5", r"train\.learning_rate was 0\.004, is 0\.5"),
        ("train.epochs=4", r"train\.epochs was 3, is 4"),
        ("train.seed=1", r"train\.seed was 0, is 1"),
        ("encoder.dropout=0.3", r"encoder\.dropout was 0\.2, is 0\.3"),
        ("loss.temperature=0.5", r"loss\.temperature was 0\.07, is 0\.5"),
        ("loss.name=baselines.info-nce", r"loss\.name was 'dexml\.decoupled-softmax', is 'baselines\.info-nce'"),
        ("encoder.name=lstm", r"run: encoder\.name was 'static', is 'lstm'\. Resume"),  # no word of their options
    ]:
        with pytest.raises(ConfigError, match=message) as caught:
            train(stopped, (setting,), resume=True)
        assert "start anew in another --out folder" in str(caught.value)
        assert (stopped / "config.toml").read_bytes() == configuration
    train(stopped, resume=True)
    assert final_bits(stopped) == expected


def test_another_index_is_refused_only_where_it_chooses_the_negatives(stopped, tmp_path):
    mined = ("train.label_scope=mined", "train.sampled_labels=20")
    stop_after(tmp_path / "mined", 6, mined)
    with pytest.raises(ConfigError, match=r"index\.name was 'exact', is 'faiss.ivf'"):
        train(tmp_path / "mined", (*mined, "index.name=faiss.ivf", "index.nlist=2"), resume=True)
    with pytest.raises(ConfigError, match=r"index\.first_pass was 'auto', is 'float32'"):
        train(tmp_path / "mined", (*mined, "index.first_pass=float32"), resume=True)
    train(stopped, ("index.first_pass=float32",), resume=True)


def test_settings_that_do_not_touch_the_bits_may_change(stopped, expected):
    train(
        stopped,
        ("train.checkpoint_s=0", "train.patience=50", f"train.device={choose_device('auto')}", "evaluate.ks=[1]"),
        resume=True,
    )
    assert final_bits(stopped) == expected


def test_other_data_is_refused(stopped, tmp_path):
    shutil.copytree(Path(str(resources.files("xmc.datasets") / "tiny")), tmp_path / "other")
    table = read_table(tmp_path / "other" / "train.parquet")
    write_table(tmp_path / "other" / "train.parquet", table.slice(1))
    with pytest.raises(ConfigError, match=r"data\.name was 'tiny', is '.*other'\. Resume with the same data"):
        train(stopped, data=tmp_path / "other", resume=True)
    with pytest.raises(ConfigError, match=r"data\.train_queries was 0, is 50"):
        train(stopped, ("data.train_queries=50",), resume=True)


def test_data_that_has_changed_is_refused(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(Path(str(resources.files("xmc.datasets") / "tiny")), data)
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "run", data=data, reporter=StopAt(2))
    write_table(data / "train.parquet", read_table(data / "train.parquet").slice(1))
    with pytest.raises(ConfigError, match=r"trained on, for the tables of data set '.*data' have changed since"):
        train(tmp_path / "run", data=data, resume=True)


def test_another_number_of_threads_is_refused(stopped):
    torch.set_num_threads(2)
    try:
        with pytest.raises(ConfigError, match=r"threads was 1, is 2\. For that many threads put OMP_NUM_THREADS=1"):
            train(stopped, resume=True)
    finally:
        torch.set_num_threads(1)


def test_another_version_of_torch_is_refused(stopped, monkeypatch):
    version = torch.__version__.partition("+")[0]
    monkeypatch.setattr(torch, "__version__", "0.1+cpu")
    with pytest.raises(ConfigError, match=rf"torch was '{version}', is '0\.1'\."):
        train(stopped, resume=True)


def test_resume_and_overwrite_exclude_each_other(stopped):
    before = final_bits(stopped)
    with pytest.raises(ConfigError, match="only one of them"):
        xmc.train_run("tiny", stopped, settings=BASE, resume=True, overwrite=True)
    assert final_bits(stopped) == before


def test_a_checkpoint_that_is_there_is_not_forgotten_when_current_is_lost(stopped):
    """Not even the first one."""
    before = {path.relative_to(stopped) for path in (stopped / "checkpoint").rglob("*")}
    (stopped / "checkpoint" / "CURRENT").unlink()
    with pytest.raises(ArtifactError, match=r"checkpoint/CURRENT is damaged: it is missing, though versions are there"):
        train(stopped, resume=True)
    after = {path.relative_to(stopped) for path in (stopped / "checkpoint").rglob("*")}
    assert before - after == {Path("checkpoint/CURRENT")}


def test_a_damaged_checkpoint_is_not_resumed(stopped):
    file = open_store(stopped).current().folder / "optimiser.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(ArtifactError, match=r"optimiser\.safetensors is damaged"):
        train(stopped, resume=True)
