"""Invariants: observers hear a run in order, its error too; validation is the dev split; label texts join when most
labels have no query; the report says what was done."""

import json
import os
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from repetitions import only_in_full
from safetensors.torch import load_file

import xmc
from xmc.api import hookimpl
from xmc.data.dataset import load_dataset
from xmc.data.named import named_folder
from xmc.encode.encoder import embed_texts
from xmc.engine import step_training
from xmc.engine.carried import Carried
from xmc.engine.indexing import run_indexing, sort_labels
from xmc.engine.run_config import resolve
from xmc.engine.training import plan_training, run_training
from xmc.engine.training_set import load_for_training
from xmc.errors import ConfigError, DataError, NonFiniteError, XmcWarning
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.train.hard_negatives import open_negatives
from xmc.train.validation import hits_at_1

QUICK = ["encoder.dimension=8", "train.batch_size=100", "train.learning_rate=0.02", "train.epochs=2"]

OBSERVER = """
from xmc.api import hookimpl

CALLS = []

@hookimpl
def xmc_run_started(run):
    CALLS.append(("started", run.queries, run.labels, run.config["train"]["epochs"]))

@hookimpl
def xmc_epoch_finished(run, epoch, metrics):
    CALLS.append(("epoch", epoch, sorted(metrics)))

@hookimpl
def xmc_index_built(run, report):
    CALLS.append(("index", run.labels, report.labels, report.backend))

@hookimpl
def xmc_run_finished(run, error):
    CALLS.append(("finished", error))
"""


@pytest.fixture
def observed(tmp_path):
    """Plugins with a recording one, as a plugin file, and what it recorded."""
    (tmp_path / "observer.py").write_text(OBSERVER)
    plugins = load_plugins(plugin_file=tmp_path / "observer.py")
    return plugins, plugins._manager.get_plugin("observer").CALLS


def quick(plugins, *settings, data="tiny"):
    return resolve(plugins, plugin="dexml", settings=[*QUICK, *settings], flags={"data": {"name": str(data)}})


@pytest.fixture
def tiny_folder(tmp_path):
    """A copy of the data set `tiny`, to be changed (so without the hashes of its columns)."""
    folder = tmp_path / "data"
    folder.mkdir()
    for source in named_folder("tiny").glob("*.parquet"):
        pq.write_table(pq.read_table(source).replace_schema_metadata(None), folder / source.name)
    return folder


def test_observers_hear_a_run_in_order(observed, tmp_path):
    plugins, calls = observed
    config = quick(plugins)
    report = run_training(config, tmp_path / "run", plugins=plugins)
    run_indexing(config, tmp_path / "run", plugins=plugins)
    columns = ["epoch", "learning_rate", "loss", "seconds", "step", "validation_p1"]
    assert calls == [
        ("started", 400, 60, 2),
        ("epoch", 1, columns),
        ("epoch", 2, columns),
        ("finished", None),
        ("index", 60, 60, "exact"),
    ]
    assert report == json.loads((tmp_path / "run" / "train.json").read_text())
    assert report["epochs_run"] == 2 and report["label_scope"] == "all" and report["device_used"] in ("cpu", "cuda")
    assert report["plan"]["steps"] == 8 and report["plan"]["label_text_queries"] == 0
    assert (tmp_path / "run" / "curve.csv").read_text().count("\n") == 3


def test_that_many_texts_are_read_is_said_before_they_are(tmp_path, monkeypatch):
    plugins, said = load_plugins(), []
    for many in (461, 460):
        monkeypatch.setattr("xmc.engine.training.MANY_TEXTS", many)
        config, events = (
            quick(plugins, "train.epochs=0"),
            {"say": said.append, "on_plan": lambda *_: said.append("plan")},
        )
        run_training(config, tmp_path / str(many), plugins=plugins, **events)
    assert said == ["plan", "reading 460 texts of training queries and labels; then the plan", "plan"]


@pytest.mark.parametrize("head", [[], ["head.name=classifier", "head.text=true"]])
def test_no_epochs_take_the_model_as_it_is(tmp_path, head):
    plugins = load_plugins()
    config = quick(plugins, *head, "train.epochs=0")
    report = run_training(config, tmp_path / "run", plugins=plugins)
    run_indexing(config, tmp_path / "run", plugins=plugins)
    assert report["epochs_run"] == report["plan"]["steps"] == report["best_epoch"] == 0
    retriever = Retriever.load(tmp_path / "run", plugins=plugins)
    data = load_for_training(config)
    untrained = config.encoder.options.build(data.train.texts, data.labels.texts, seed=config.train.seed)
    assert torch.equal(embed_texts(retriever.encoder, ["tram"], "query"), embed_texts(untrained, ["tram"], "query"))
    assert run_training(config, tmp_path / "run", plugins=plugins, resume=True) == report


def test_a_rate_of_labels_that_nothing_learns_at_is_said():
    plugins = load_plugins()
    plan_training(quick(plugins, "train.label_learning_rate=0.1", "encoder.shared=false"), plugins=plugins)
    with pytest.warns(XmcWarning, match=r"label_learning_rate = 0\.1 changes nothing: the encoder 'static'"):
        plan_training(quick(plugins, "train.label_learning_rate=0.1"), plugins=plugins)


def test_more_labels_than_there_are_are_not_mined(tmp_path):
    plugins = load_plugins()
    mined = ("train.label_scope=mined", "train.mining_start=0", f"train.mining_depth={10**12}", "train.epochs=1")
    run_training(quick(plugins, *mined), tmp_path / "run", plugins=plugins)
    rows_NM = load_file(open_negatives(tmp_path / "run").current().folder / "negatives.safetensors")["rows"]
    assert rows_NM.shape == (400, 60) and ((rows_NM >= 0).sum(dim=1) >= 50).all()


def test_observers_hear_the_error_of_a_run_that_fails(observed, tmp_path):
    plugins, calls = observed
    config = quick(plugins, "train.learning_rate=1e30", "train.schedule=constant", "encoder.similarity=dot")
    with pytest.raises(NonFiniteError) as raised:
        run_training(config, tmp_path / "run", plugins=plugins)
    assert [call[0] for call in calls if call[0] != "epoch"] == ["started", "finished"]
    assert calls[-1] == ("finished", raised.value)


def test_observers_hear_nothing_of_a_run_that_never_began(observed, tmp_path):
    plugins, calls = observed
    with pytest.raises(DataError, match="there is no data set 'tinny'"):
        run_training(quick(plugins, data="tinny"), tmp_path / "run", plugins=plugins)
    with pytest.raises(ConfigError, match="no data set is named"):
        run_training(quick(plugins, data=""), tmp_path / "run", plugins=plugins)
    assert not calls and not (tmp_path / "run").exists()


def test_what_observers_change_or_answer_does_not_matter(tmp_path):
    class Meddler:
        @hookimpl
        def xmc_run_started(self, run):
            run.config["train"]["epochs"] = 0
            return False

        @hookimpl
        def xmc_epoch_finished(self, metrics):
            return "stop"

    plugins = load_plugins()
    plugins._manager.register(Meddler(), name="meddler")
    assert run_training(quick(plugins), tmp_path / "run", plugins=plugins)["epochs_run"] == 2


def test_a_data_set_that_was_read_is_handed_on():
    data = load_dataset("tiny")
    assert Carried(data).load(resolve(load_plugins(), settings=["data.name=tiny"])) is data


def test_validation_is_the_dev_split_of_the_data(tmp_path):
    plugins = load_plugins()
    config = quick(plugins)
    report = run_training(config, tmp_path / "run", plugins=plugins)
    data = load_dataset("tiny")
    assert report["plan"]["validation_queries"] == len(data.dev) and report["plan"]["train_queries"] == len(data.train)
    run_indexing(config, tmp_path / "run", plugins=plugins)
    encoder = Retriever.load(tmp_path / "run").encoder  # the best epoch's
    features, labels_LD = encoder.prepare(data.dev.texts, "query"), embed_texts(encoder, data.labels.texts, "label")
    best = hits_at_1(encoder, features, labels_LD, data.dev.positives, rows_at_once=100) / len(features)
    assert best == pytest.approx(report["best_validation_p1"], abs=0.011)  # one query, for rounding on folding


def test_without_a_dev_split_one_is_carved_out_or_none_is_used(tiny_folder):
    plugins = load_plugins()
    (tiny_folder / "dev.parquet").unlink()
    carved = load_for_training(quick(plugins, "train.validation_share=0.25", data=tiny_folder))
    assert len(carved.train) + len(carved.dev) == 400 and 60 < len(carved.dev) < 140
    assert not set(carved.train.ids) & set(carved.dev.ids)
    assert load_for_training(quick(plugins, "train.validation_share=0", data=tiny_folder)).dev is None


def test_a_dev_split_too_large_is_sampled_the_same_each_time():
    from xmc.engine.training_set import validation_queries

    plugins = load_plugins()
    config = quick(plugins, "train.validation_queries=30")
    data = load_for_training(config)
    first, again = validation_queries(data, config), validation_queries(data, config)
    assert first.ids == again.ids and len(set(first.ids)) == 30 and set(first.ids) <= set(data.dev.ids)
    other = validation_queries(data, quick(plugins, "train.validation_queries=30", "train.seed=1"))
    assert other.ids != first.ids


@pytest.mark.parametrize(
    ("settings", "few", "drawn"),
    [
        ([], False, 0),  # all labels of tiny have queries
        ([], True, 3),  # 12 queries, a quarter of that
        (["encoder.shared=false"], True, 0),
        (["train.label_text_share=0.5"], False, 60),  # no more than there are labels
        (["train.label_text_share=0"], True, 0),
        (["train.label_text_share=1"], True, 12),
    ],
)
def test_label_texts_join_when_most_labels_have_no_query(tiny_folder, settings, few, drawn):
    from xmc.engine.training_set import epoch_pool

    if few:
        train = pq.read_table(tiny_folder / "train.parquet").slice(0, 12)
        pq.write_table(train, tiny_folder / "train.parquet")
    config = quick(load_plugins(), *settings, data=tiny_folder)
    data = load_for_training(config)
    assert (np.mean(data.train_counts() == 0) > 0.5) == few
    assert epoch_pool(config, data).drawn == drawn


def test_a_share_that_comes_to_no_label_text_leaves_the_training_queries_alone():
    from xmc.engine.training_set import epoch_pool, query_texts

    config = quick(load_plugins(), "train.label_text_share=0.001")
    data = load_for_training(config)
    pool = epoch_pool(config, data)
    texts, positives = query_texts(data, pool)
    assert (pool.always, pool.sometimes, pool.drawn) == (400, 0, 0)  # what is prepared goes on to a reranker as it is
    assert len(texts) == len(positives) == 400


@pytest.mark.parametrize(("epochs", "start"), [(1, 1), (2, 3)])
def test_a_training_that_would_never_mine_is_refused_before_it_starts(tmp_path, epochs, start):
    plugins = load_plugins()
    mined = ("train.label_scope=mined", f"train.mining_start={start}")
    with pytest.raises(ConfigError, match=rf"no label would ever be mined: .* mining_start = {start}"):
        run_training(quick(plugins, *mined, f"train.epochs={epochs}"), tmp_path / "run", plugins=plugins)
    assert not (tmp_path / "run").exists()
    config = quick(plugins, *mined, "train.epochs=0")  # takes the model as it is
    assert run_training(config, tmp_path / "run", plugins=plugins)["label_scope"] == "mined"


def test_a_label_text_is_a_query_whose_only_positive_is_its_label():
    from xmc.engine.training_set import append_own_labels

    positives = load_dataset("tiny").dev.positives
    longer = append_own_labels(positives, 60)
    assert len(longer) == len(positives) + 60
    for row in range(60):
        start, stop = longer.offsets[len(positives) + row], longer.offsets[len(positives) + row + 1]
        assert longer.label_rows[start:stop].tolist() == [row] and longer.weights[start:stop].tolist() == [1.0]
    first = longer.take(np.arange(len(positives)))
    np.testing.assert_array_equal(first.label_rows, positives.label_rows)


def test_labels_are_sorted_by_id():
    data = load_dataset("tiny")
    labels = sort_labels(data.labels)
    assert labels.ids == sorted(data.labels.ids)
    assert dict(zip(labels.ids, labels.texts, strict=True)) == dict(
        zip(data.labels.ids, data.labels.texts, strict=True)
    )


@pytest.mark.pretrained
@only_in_full
def test_minilm_is_trained_and_its_folder_gives_the_same_vectors(tmp_path, minilm):
    from sentence_transformers import SentenceTransformer

    settings = [
        "encoder.name=sentence-transformers",
        f"encoder.model={minilm}",
        "data.train_queries=40",
        "train.epochs=1",
        "train.batch_size=20",
        "train.label_chunk=32",
        "train.learning_rate=1e-5",
        "encoder.max_tokens=24",
    ]
    report = xmc.train_run("tiny", tmp_path / "run", settings=settings)
    assert report["plan"]["steps"] == 2 and report["plan"]["dimension"] == 384
    retriever = xmc.Retriever.load(tmp_path / "run")
    texts = ["a tender tram", "lemon fruit"]
    embeddings_ND = retriever.encode(texts)
    opened = SentenceTransformer(str(retriever.model.folder), device="cpu")
    np.testing.assert_allclose(opened.encode(texts), embeddings_ND, rtol=1e-4, atol=1e-5)
    untrained = SentenceTransformer(str(minilm), device="cpu").encode(texts)
    assert np.abs(untrained - embeddings_ND.numpy()).max() > 1e-4
    assert len(retriever.search(texts, k=3)[0]) == 3


def test_data_that_is_no_name_or_folder_is_told_how_to_become_one(tmp_path):
    with pytest.raises(DataError, match=r"shipped data set or its folder, got Table\. Of a data frame .*to_parquet"):
        xmc.train_run(pa.table({"text": ["a"], "labels": ["b"]}), tmp_path / "run")


def test_on_a_gpu_the_first_product_is_made_reproducibly(monkeypatch):
    """What cuBLAS is told is read with it, and encoder and head are looked at before the first step."""

    def start(job, checkpoint):
        raise RuntimeError(f"deterministic: {torch.are_deterministic_algorithms_enabled()}")

    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(step_training, "train_start", start)
    job = types.SimpleNamespace(config=None, data=None, ranks=None, device="cuda")
    with pytest.raises(RuntimeError, match="deterministic: True"):
        step_training.train_in_steps(job, None)
    assert not torch.are_deterministic_algorithms_enabled()
