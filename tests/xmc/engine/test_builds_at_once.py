"""Invariants: an index is put in the place of no other one than that which was there when its labels were read, and
beside no other encoder; who works on an index by parts takes no newer one."""

import pytest

import xmc
from xmc.data.dataset import load_dataset
from xmc.engine.indexing import commit_index, labels_to_index, run_indexing
from xmc.engine.run_config import read_run_config
from xmc.errors import ArtifactError, LockedError
from xmc.index_building import build_index
from xmc.plugin_manager import load_plugins
from xmc.predict.job import index_folder, make_job
from xmc.retrieve.layout import encoder_store, index_store

PLUGINS = load_plugins()


@pytest.fixture
def begun(tiny_run_copy):
    """A run with an index that is built and waits to be committed, by the function that is the second value."""
    config = read_run_config(PLUGINS, tiny_run_copy)
    indexed = labels_to_index(config, tiny_run_copy, plugins=PLUGINS)
    index = build_index(
        config.index.options, indexed.chunks, labels=len(indexed.labels), similarity=indexed.similarity, device="cpu"
    )
    return tiny_run_copy, lambda: commit_index(config, tiny_run_copy, index, index.report, indexed, plugins=PLUGINS)


def test_a_build_that_another_overtook_is_refused(begun):
    run, commit = begun
    run_indexing(read_run_config(PLUGINS, run), run, plugins=PLUGINS)
    before = index_store(run).current_sha256()
    with pytest.raises(LockedError, match=r"another index of .* was committed while this index was built, and stays"):
        commit()
    assert index_store(run).current_sha256() == before


def test_a_build_with_an_encoder_that_is_gone_is_refused(begun):
    run, commit = begun
    encoders = encoder_store(run)
    with encoders.new_version(facts=encoders.current().manifest.facts) as folder:
        (folder / "other").write_text("weights")
    with pytest.raises(LockedError, match="another encoder of"):
        commit()


def test_a_damaged_index_is_replaced(tiny_run_copy):
    for damage in ("", "{}", '{"version": "v000009", "manifest_sha256": "0"}'):
        (index_store(tiny_run_copy).root / "CURRENT").write_text(damage)
        xmc.index_run(tiny_run_copy, device="cpu")
        assert xmc.Retriever.load(tiny_run_copy).search(["tender tram"], k=1)[0]


def test_an_edit_in_between_refuses_nothing(begun):
    run, commit = begun
    xmc.put_labels(run, {"new": "quartz"})
    commit()
    assert xmc.list_labels(run).keys() == {*load_dataset("tiny").labels.ids, "new"}


def test_parts_of_an_index_that_was_replaced_are_not_opened(tiny_run_copy, tmp_path):
    job = make_job(tiny_run_copy, str(tmp_path), k=3, batch_rows=8, device="cpu")
    assert index_folder(job) == index_store(tiny_run_copy).current().folder / "backend"
    xmc.index_run(tiny_run_copy, settings=["index.name=faiss.flat"], device="cpu")
    with pytest.raises(ArtifactError, match="was changed since this prediction began"):
        index_folder(job)
