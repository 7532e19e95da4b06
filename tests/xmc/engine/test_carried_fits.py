"""Invariants: what was fitted goes on where a rebuilt index keeps the answers, and only there; how many labels were
edited since is counted; every opened state says once what that means."""

import shutil
import warnings
from functools import partial

import pytest

import xmc
from xmc.engine.checking import open_context, run_check
from xmc.engine.held_out import held_out
from xmc.engine.run_config import read_run_config
from xmc.engine.training_set import load_for_training
from xmc.errors import ArtifactError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.run_state import fitted_now

PLUGINS = load_plugins()
QUICK = ["check.calibrate.bootstrap_samples=0"]
IVF = ["index.name=faiss.ivf", "index.nlist=4"]


@pytest.fixture(scope="module")
def fitted_run(tiny_run, tmp_path_factory):
    run = tmp_path_factory.mktemp("carried") / "run"
    shutil.copytree(tiny_run, run)
    fit(run)
    return run


def fit(run, *names):
    """`xmc check NAMES` without its reports, whose pictures take most of its time."""
    config = read_run_config(PLUGINS, run, settings=QUICK)
    data, retriever = load_for_training(config), Retriever.load(run, device="cpu", warn=False)
    queries = held_out(data, retriever, split="test")
    context = open_context(config, run, data, retriever, queries, device="cpu")
    for name in names or ("calibrate", "conformal"):
        run_check(PLUGINS.find("check", name), config.check, context)


@pytest.fixture
def run(fitted_run, tmp_path):
    shutil.copytree(fitted_run, tmp_path / "run")
    return tmp_path / "run"


def sayings(call):
    """What a call warns of, and what it returns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return [str(each.message) for each in caught], result


def new_labels(count, start=0):
    return {f"new-{number}": f"purple banana {number}" for number in range(start, start + count)}


def state(run):
    """(labels, edited, carried) of the calibration or None, and whether label sets are in use."""
    fitted = fitted_now(run)
    basis = fitted.basis
    return (basis.labels, basis.edited, basis.carried) if basis else None, fitted.label_sets is not None


def test_a_compaction_carries_probabilities_with_their_count_of_edits(run):
    before = xmc.Retriever.load(run).search(["tender tram"], k=3, min_probability=0.2)
    xmc.add_labels(run, new_labels(1))
    said, _ = sayings(lambda: xmc.compact_labels(run, device="cpu"))
    assert any("some labels were edited after its probabilities were fitted" in each for each in said)
    assert any("label sets" in each and "xmc check conformal --run" in each for each in said)
    assert state(run) == ((60, 1, True), False)
    _, carried = sayings(lambda: Retriever.load(run))
    assert carried.search(["tender tram"], k=3, min_probability=0.2) == before
    xmc.replace_labels(run, {"new-0": "quartz"})  # edited again: still one label
    xmc.remove_labels(run, ["L00"])
    sayings(lambda: xmc.index_run(run, device="cpu"))
    sayings(lambda: xmc.compact_labels(run, device="cpu"))
    assert state(run) == ((60, 2, True), False)


def test_the_same_index_over_the_same_labels_keeps_everything(run):
    sets = xmc.Retriever.load(run).search_sets(["tender tram"], alpha=0.3)
    assert sayings(lambda: xmc.index_run(run, device="cpu"))[0] == []
    assert sayings(lambda: xmc.compact_labels(run, device="cpu"))[0] == []
    assert state(run) == ((60, 0, True), True)
    assert xmc.Retriever.load(run).search_sets(["tender tram"], alpha=0.3) == sets


def test_label_sets_fitted_over_edits_outlive_their_compaction(tiny_run_copy):
    xmc.add_labels(tiny_run_copy, new_labels(2))
    fit(tiny_run_copy)
    assert sayings(lambda: xmc.compact_labels(tiny_run_copy, device="cpu"))[0] == []
    assert state(tiny_run_copy) == ((62, 0, True), True)


def test_a_given_vector_for_a_label_that_its_queries_had_moved_carries_as_any_edit(tiny_run_copy):
    run = tiny_run_copy
    xmc.index_run(run, settings={"labels.query_weight": 0.5}, device="cpu")
    fit(run, "calibrate")
    retriever = Retriever.load(run)
    text = {label_id: text for label_id, text in xmc.list_labels(run).items() if label_id == "L21"}
    xmc.put_labels(run, text, vectors=retriever.encode(["quartz"]))
    before = Retriever.load(run, warn=False).search(["tender tram"], k=60, min_probability=0)
    sayings(lambda: xmc.index_run(run, device="cpu"))
    assert state(run) == ((60, 1, True), False)
    assert Retriever.load(run, warn=False).search(["tender tram"], k=60, min_probability=0) == before
    sayings(lambda: xmc.index_run(run, settings={"labels.query_weight": 0.6}, device="cpu"))
    assert state(run) == (None, False)


@pytest.mark.parametrize(
    ("settings", "calibrated", "sets"),
    [
        (["index.score_memory_mb=1"], True, False),  # exact too: equal scores, but for rounding
        (IVF, False, False),
    ],
)
def test_another_backend_keeps_what_its_answers_allow(run, settings, calibrated, sets):
    said, _ = sayings(lambda: xmc.index_run(run, settings=settings, device="cpu"))
    assert len(said) == 2 - calibrated and all("fitted for an earlier index" in each for each in said)
    assert (state(run)[0] is not None, state(run)[1]) == (calibrated, sets)
    if not calibrated:
        loaded, retriever = sayings(lambda: Retriever.load(run))
        assert loaded == said
        with pytest.raises(ArtifactError, match=r"was fitted for an earlier index\. .*xmc check calibrate --run"):
            retriever.search(["tender tram"], min_probability=0.5)


@pytest.mark.parametrize("edits", [0, 1])
def test_an_approximate_index_keeps_label_sets_only_of_unedited_labels(run, edits):
    sayings(lambda: xmc.index_run(run, settings=IVF, device="cpu"))
    fit(run)
    if edits:
        xmc.add_labels(run, new_labels(1))
        fit(run, "conformal")
        assert state(run)[1]
    sayings(lambda: xmc.compact_labels(run, device="cpu"))
    assert state(run) == ((60, edits, True), not edits)


def test_changed_labels_of_the_data_set_carry_nothing(run, monkeypatch):
    from dataclasses import replace

    from xmc.data.tables import LabelTable
    from xmc.engine import indexing

    real = indexing.load_dataset

    def changed(name):
        data = real(name)
        return replace(data, labels=LabelTable(data.labels.ids, ["quartz", *data.labels.texts[1:]]))

    monkeypatch.setattr(indexing, "load_dataset", changed)
    said, _ = sayings(lambda: xmc.index_run(run, device="cpu"))
    assert len(said) == 2 and state(run) == (None, False)


def test_another_second_stage_is_said(run):
    settings = ["reranker.name=linear.one-vs-rest", "fusion.weight=0.1", "fusion.depth=5", "fusion.negatives=5"]
    said, _ = sayings(lambda: xmc.rerank_run(run, settings=settings, device="cpu"))
    assert len(said) == 2 and "was fitted for an earlier reranker" in said[0]


def test_each_opened_state_says_it_once_and_louder_as_edits_grow(run):
    retriever, heard, edited = Retriever.load(run), [], 0
    for count in (2, 1, 5, 3, 25, 40):
        sayings(partial(xmc.add_labels, run, new_labels(count, start=edited)))
        said, retriever = sayings(retriever.reload_if_changed)
        heard += [sentence.split(" labels were")[0].split(": ")[-1] for sentence in said if "probabilities" in sentence]
        assert sayings(partial(retriever.search, ["tram"], min_probability=0.1))[0] == []
        edited += count
        assert retriever.fitted.basis.edited == edited
    assert heard == ["some", "at least a tenth of the", "at least half of the", "more"]
    said, _ = sayings(lambda: Retriever.load(run))
    assert any("neither they nor what min_probability leaves out can be relied on" in each for each in said)
    assert sayings(lambda: Retriever.load(run, warn=False).reload_if_changed())[0] == []


def test_a_calibration_from_before_the_count_was_kept_goes_on(run):
    from xmc.retrieve.layout import fitted_store

    store = fitted_store(run, "calibrate", "calibration")
    old = store.current()
    facts = {name: value for name, value in old.manifest.facts.items() if name != "label_count"}
    with store.new_version(facts=facts) as folder:
        shutil.copy(old.folder / "calibration.json", folder)
    assert state(run)[0] == (None, 0, False)
    xmc.add_labels(run, new_labels(1))
    assert "some labels were edited" in fitted_now(run).notes[0]
    sayings(lambda: xmc.compact_labels(run, device="cpu"))
    assert state(run)[0] == (None, None, True)
