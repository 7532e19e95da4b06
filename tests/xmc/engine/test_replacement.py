"""Invariants: a run is there until one that replaces it is whole, whatever ends the training of that; nothing is left
of a training that came to nothing; a kill at any moment leaves what the next command completes."""

import shutil

import pytest
from resume_cases import FailAt, StopAt, UnforeseenError

from xmc.engine.replacement import STAGES, configuration_to_resume
from xmc.engine.run_config import resolve
from xmc.engine.run_folder import prepare_folder
from xmc.engine.whole_run import make_run
from xmc.errors import ConfigError, DataError, InterruptedRunError, LockedError, XmcError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.layout import work_folder
from xmc.retrieve.retriever import Retriever
from xmc.store import locked
from xmc.train.checkpoint import open_store

SMALL = ("encoder.dimension=8", "train.epochs=2", "train.batch_size=100")  # of four steps an epoch
NEXT, WHOLE, MOVING = STAGES


def bytes_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def make(run, settings=SMALL, *, plugin="dexml", **words):
    plugins = load_plugins()
    config = resolve(plugins, plugin=plugin, settings=settings, flags={"data": {"name": "tiny"}})
    return make_run(config, run, plugins=plugins, **words)


REFUSED = {
    "settings of a fit": ("linear", ("train.epochs=2",), "does not use train.epochs"),
    "a model": ("dexml", ("encoder.name=sentence-transformers", "encoder.model=./nowhere"), "not a sentence-trans"),
    "a second stage": ("linear.fused", ("fusion.least_queries=999",), "999 training queries or more; the one with"),
    "precision": ("linear", ("head.name=classifier", "head.text=false", "train.precision=bfloat16"), "precision"),
}


@pytest.mark.parametrize(("plugin", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_a_refused_training_changes_nothing(tiny_run_copy, tmp_path, plugin, settings, message):
    before = bytes_in(tiny_run_copy)
    with pytest.raises(XmcError, match=message) as caught:
        make(tiny_run_copy, settings, plugin=plugin, overwrite=True)
    assert f"What was in {tiny_run_copy} is as it was." in str(caught.value)
    assert bytes_in(tiny_run_copy) == before
    with pytest.raises(XmcError, match=message):
        make(tmp_path / "new", settings, plugin=plugin)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(XmcError, match=message):
        make(tmp_path / "empty", settings, plugin=plugin)
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_error_before_the_first_checkpoint_leaves_nothing(tiny_run_copy, tmp_path):
    before = bytes_in(tiny_run_copy)
    with pytest.raises(UnforeseenError):
        make(tiny_run_copy, overwrite=True, reporter=FailAt(2))
    assert bytes_in(tiny_run_copy) == before
    with pytest.raises(UnforeseenError):
        make(tmp_path / "new", reporter=FailAt(2))
    assert not (tmp_path / "new").exists()


def test_a_refused_resume_keeps_the_configuration_of_a_run_without_a_checkpoint(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    plugins = load_plugins()
    config = resolve(plugins, plugin="dexml", settings=("data.name=tiny", *SMALL))
    config.write(run)
    config.write_plugins(run, plugins=plugins)  # then it was killed
    before = bytes_in(run)
    with pytest.raises(XmcError, match="not a sentence-transformers folder"):
        make(run, REFUSED["a model"][1], resume=True)
    assert bytes_in(run) == before


def test_a_stopped_replacement_is_resumed_and_then_takes_the_place(tiny_run_copy):
    said = []

    def refused_meanwhile(line):
        with pytest.raises(LockedError), locked(tiny_run_copy):
            pass
        said.append(line)

    (tiny_run_copy / "hits").mkdir()
    (tiny_run_copy / "hits" / "test.parquet").touch()  # of the earlier run
    before, answers = bytes_in(tiny_run_copy), Retriever.load(tiny_run_copy).search(["tender tram"], k=3)
    with pytest.raises(InterruptedRunError) as caught:
        make(tiny_run_copy, overwrite=True, reporter=StopAt(6))
    assert f"{tiny_run_copy} still holds the earlier run" in str(caught.value)
    assert {name: data for name, data in bytes_in(tiny_run_copy).items() if not name.startswith(".")} == before
    assert Retriever.load(tiny_run_copy).search(["tender tram"], k=3) == answers
    assert configuration_to_resume(tiny_run_copy) == tiny_run_copy / NEXT / "config.toml"
    assert open_store(work_folder(tiny_run_copy)).current().manifest.facts["step"] == 6
    make(tiny_run_copy, resume=True, say=refused_meanwhile)
    assert said == ["building the index"]
    assert not [path for path in tiny_run_copy.iterdir() if path.name in (*STAGES, "hits")]
    assert "dimension = 8" in (tiny_run_copy / "config.toml").read_text()
    assert "# run" in (tiny_run_copy / "README.md").read_text()
    assert Retriever.load(tiny_run_copy).model.encoder.dimension == 8


CODES_THAT_DO_NOT_DIVIDE = ("index.name=faiss.ivf", "index.storage=pq", "index.pq_m=7", "index.pq_bits=4")


def test_an_index_that_is_refused_after_training_costs_neither_run(tiny_run_copy):
    before = bytes_in(tiny_run_copy)
    with pytest.raises(ConfigError, match="--resume goes on with it"):
        make(tiny_run_copy, (*SMALL, *CODES_THAT_DO_NOT_DIVIDE), overwrite=True)
    assert bytes_in(tiny_run_copy).items() >= before.items()
    step = open_store(work_folder(tiny_run_copy)).current().sha256
    make(tiny_run_copy, (*SMALL, "index.name=faiss.flat"), resume=True)
    assert open_store(tiny_run_copy).current().sha256 == step
    assert Retriever.load(tiny_run_copy).report.backend == "faiss.flat"


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (["index.name=faiss.ivf", "index.nlist=100"], ConfigError),
        (["index.name=faiss.ivf", "index.storage=pq"], DataError),
        (
            ["index.name=sharded", "index.backend=faiss.ivf", "index.options={nlist = 31}"],
            ConfigError,
        ),
    ],
)
def test_labels_that_are_too_few_for_the_index_are_refused_before_training(tiny_run_copy, index, error):
    before = bytes_in(tiny_run_copy)
    with pytest.raises(error, match=r"there are (30|60)"):
        make(tiny_run_copy, (*SMALL, *index), overwrite=True)
    assert bytes_in(tiny_run_copy) == before


def test_overwriting_twice_begins_anew(tiny_run_copy):
    with pytest.raises(InterruptedRunError):
        make(tiny_run_copy, overwrite=True, reporter=StopAt(6))
    report = make(tiny_run_copy, (*SMALL, "train.epochs=1"), overwrite=True)
    assert report["epochs_run"] == 1
    assert work_folder(tiny_run_copy) == tiny_run_copy


def test_while_another_process_trains_nothing_is_overwritten(tiny_run_copy):
    before = bytes_in(tiny_run_copy)
    with locked(tiny_run_copy), pytest.raises(LockedError):
        make(tiny_run_copy, overwrite=True)
    assert bytes_in(tiny_run_copy) == before


@pytest.mark.parametrize("files_gone", [0, 1, 5, None])
@pytest.mark.parametrize("stage", [WHOLE, MOVING])
def test_a_replacement_that_was_killed_half_way_is_completed(tiny_run, tmp_path, stage, files_gone):
    """Some of the earlier files are removed, or some of the new ones have moved already."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run / stage, ignore=shutil.ignore_patterns(".lock"))
    names = sorted(path.name for path in (run / stage).iterdir())[:files_gone]
    if stage == WHOLE:
        shutil.copytree(tiny_run, run, dirs_exist_ok=True)
        (run / "report.json").write_text("{}")
        for path in (run / name for name in names):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        for name in names:
            (run / stage / name).rename(run / name)
    assert configuration_to_resume(run).read_bytes() == (tiny_run / "config.toml").read_bytes()
    with pytest.raises(ConfigError, match="Use --resume to go on"):
        prepare_folder(run, resume=False, overwrite=False)
    assert prepare_folder(run, resume=True, overwrite=False) == run
    assert bytes_in(run) == bytes_in(tiny_run)
    assert not [path for path in run.iterdir() if path.name in STAGES]
