"""Invariants: a teacher's folder appears whole or not at all and is verified when it is read; a student under frozen
labels serves the teacher's vectors unchanged, byte for byte; a run is the same whether it was interrupted or not; what
does not fit together is refused before anything is overwritten."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from resume_cases import final_bits, stop_after, train

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.shards import read_table, write_table
from xmc.engine.run_config import read_run_config, resolve
from xmc.engine.teacher import LABELS_NAME, VECTORS_NAME, Teacher, open_teacher
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.row_file import load_rows
from xmc.store import verify_folder
from xmc.train.schedule import Pool

STUDENT = ("encoder.dimension=32", "train.epochs=3", "train.batch_size=64", "train.learning_rate=0.02")


@pytest.fixture(scope="module")
def taught(tiny_run, tmp_path_factory):
    """The folder of a teacher that is the run on `tiny`, and the report."""
    out = tmp_path_factory.mktemp("teachers") / "tiny"
    return out, xmc.teach(tiny_run, "tiny", out, k=10)


@pytest.fixture(scope="module")
def student(taught, tmp_path_factory):
    """A student of it, under its label vectors."""
    run = tmp_path_factory.mktemp("students") / "run"
    xmc.train_run("tiny", run, plugin="distill", settings=(*STUDENT, f"teacher.path={taught[0]}"))
    return run


def config_of(*settings, plugin="distill"):
    return resolve(load_plugins(), plugin=plugin, settings=("data.name=tiny", *settings))


def test_the_folder_holds_the_runs_answers_in_half_precision_and_its_vectors(taught, tiny_run):
    out, report = taught
    assert report.to_dict() == {"queries": 400, "labels": 60, "k": 10, "dimension": 32, "recall": report.recall}
    assert 0.8 < report.recall < 1
    manifest = verify_folder(out, kind="teacher")
    assert manifest.facts["recall"] == report.recall and manifest.facts["data"] == load_dataset("tiny").fingerprint
    assert set(manifest.files) == {"scores-00000.arrow", LABELS_NAME, VECTORS_NAME}
    table = read_table(out / "scores-00000.arrow", kind="hits")
    assert str(table.schema.field("scores").type) == "list<item: halffloat>"
    retriever, data = Retriever.load(tiny_run), load_dataset("tiny")
    for row, hits in zip((0, 399), retriever.search([data.train.texts[0], data.train.texts[399]], k=10), strict=True):
        assert table["query_id"][row].as_py() == data.train.ids[row]
        assert table["label_ids"][row].as_py() == [hit.label_id for hit in hits]
        np.testing.assert_allclose(table["scores"][row].as_py(), [hit.score for hit in hits], atol=1e-3)
    vectors = torch.cat(list(retriever.model.label_vectors(data.labels)[0]))
    assert torch.equal(load_rows(out / VECTORS_NAME), vectors)


def test_a_run_teaches_a_data_set_whose_labels_are_in_another_order_by_the_texts_that_it_has(tiny_run_copy, tmp_path):
    tiny = load_dataset("tiny")
    xmc.replace_labels(tiny_run_copy, {"L21": "purple banana"})
    order = np.random.default_rng(0).permutation(60)
    labels = tiny.labels.take(order)
    (tmp_path / "data").mkdir()
    write_table(tmp_path / "data" / "labels.parquet", pa.table({"label_id": labels.ids, "text": labels.texts}))
    for split, queries in tiny.splits.items():
        truth = queries.positives
        rows_of_Q = [truth.label_rows[a:b] for a, b in zip(truth.offsets, truth.offsets[1:], strict=False)]
        ids_of_Q = [[tiny.labels.ids[row] for row in rows] for rows in rows_of_Q]
        table = pa.table({"query_id": queries.ids, "text": queries.texts, "positives": ids_of_Q})
        write_table(tmp_path / "data" / f"{split}.parquet", table)
    reports = [
        xmc.teach(tiny_run_copy, data, tmp_path / f"teacher-{number}", k=10)
        for number, data in enumerate(("tiny", tmp_path / "data"))
    ]
    assert reports[0] == reports[1]
    in_order, in_another = (
        read_table(tmp_path / f"teacher-{number}" / "scores-00000.arrow").to_pylist() for number in (0, 1)
    )
    assert in_order == in_another
    vectors_LD = load_rows(tmp_path / "teacher-1" / VECTORS_NAME)
    assert torch.equal(vectors_LD, load_rows(tmp_path / "teacher-0" / VECTORS_NAME)[order])
    queries_QD = Retriever.load(tiny_run_copy).encode(tiny.train.texts)
    scores_QL = torch.nn.functional.normalize(queries_QD, dim=1) @ torch.nn.functional.normalize(vectors_LD, dim=1).T
    for row, hits in enumerate(in_another):
        columns = [labels.ids.index(label_id) for label_id in hits["label_ids"]]
        np.testing.assert_allclose(hits["scores"], scores_QL[row, columns], atol=1e-3)


def test_the_student_serves_the_teachers_vectors_byte_for_byte(student, tiny_run, taught):
    retriever, data = Retriever.load(student), load_dataset("tiny")
    served = torch.cat(list(retriever.model.label_vectors(data.labels)[0]))
    assert served.numpy().tobytes() == load_rows(taught[0] / VECTORS_NAME).numpy().tobytes()
    files = [
        {path.name: path.read_bytes() for path in (run / "index").glob("v*/backend/*") if path.suffix == ".safetensors"}
        for run in (student, tiny_run)
    ]
    assert files[0] == files[1] and files[0]
    answers = xmc.evaluate_run(student).to_dict()["overall"]["figures"]["P@1"]["value"]
    assert answers > 0.8


def test_a_label_is_added_by_its_vector(student, tmp_path):
    shutil.copytree(student, tmp_path / "run")
    vector = np.eye(32, dtype=np.float32)[:1]
    xmc.add_labels(tmp_path / "run", {"new": "a new label"}, vectors=vector)
    assert "new" in {hit.label_id for hit in Retriever.load(tmp_path / "run").search(["tram"], k=61)[0]}
    with pytest.raises(DataError, match="was not there in training"):
        xmc.add_labels(tmp_path / "run", {"other": "without a vector"})


def test_a_student_that_was_stopped_ends_with_the_bits_of_one_that_was_not(taught, student, tmp_path):
    frozen = ("encoder.dimension=32", "head.name=frozen", "loss.name=distill.nkd", "train.label_text_share=0.5")
    settings = (*frozen, "train.epochs=2", "train.batch_size=200", f"teacher.path={taught[0]}")
    train(tmp_path / "whole", settings)
    stop_after(tmp_path / "stopped", 2, settings)
    train(tmp_path / "stopped", settings, resume=True)
    assert final_bits(tmp_path / "stopped") == final_bits(tmp_path / "whole")
    stop_after(tmp_path / "again", 2, settings)
    xmc.teach(student, "tiny", tmp_path / "other", k=5)
    with pytest.raises(ConfigError, match=r"teacher\.reads"):
        train(tmp_path / "again", (*settings[:-1], f"teacher.path={tmp_path / 'other'}"), resume=True)


def test_any_table_of_hits_teaches_a_dual_encoder(tiny_run, tmp_path):
    data = load_dataset("tiny")
    xmc.teach(tiny_run, "tiny", tmp_path / "teacher", k=8)
    (tmp_path / "hits").mkdir()
    shutil.copy(tmp_path / "teacher" / "scores-00000.arrow", tmp_path / "hits")
    settings = (*STUDENT, f"teacher.path={tmp_path / 'hits'}", "loss.name=distill.nkd", "loss.temperature=0.07")
    xmc.train_run("tiny", tmp_path / "run", settings=settings)
    assert read_run_config(load_plugins(), tmp_path / "run").teacher.path == str(tmp_path / "hits")
    assert json.loads((tmp_path / "run" / "train.json").read_text())["best_validation_p1"] > 0.5
    teacher = open_teacher(config_of(*settings))
    assert not teacher.has_vectors and teacher.vectors(data) is None
    hits = teacher.scores(data, Pool(400, 60, 60))
    assert len(hits) == 460 and np.diff(hits.offsets)[400:].tolist() == [0] * 60


def test_a_teacher_that_is_not_needed_and_one_that_is_missing(taught):
    with pytest.raises(ConfigError, match=r"the loss 'distill.nkd' learns from a teacher, and \[teacher\] names none"):
        open_teacher(config_of())
    with pytest.raises(ConfigError, match=r"neither the loss 'dexml.decoupled-softmax' nor the head 'dual-encoder'"):
        open_teacher(config_of(f"teacher.path={taught[0]}", plugin="dexml"))
    assert open_teacher(config_of(plugin="dexml")) is None
    with pytest.raises(DataError, match="there is no table nowhere"):
        open_teacher(config_of("teacher.path=nowhere"))


def test_frozen_labels_without_a_teacher_or_without_its_vectors_are_refused(taught, tmp_path):
    with pytest.raises(ConfigError, match="head 'frozen' takes the label vectors of a teacher"):
        xmc.train_run("tiny", tmp_path / "a", settings=("head.name=frozen",))
    (tmp_path / "hits").mkdir()
    shutil.copy(taught[0] / "scores-00000.arrow", tmp_path / "hits")
    with pytest.raises(ConfigError, match="head 'frozen' takes the label vectors of a teacher"):
        xmc.train_run(
            "tiny", tmp_path / "b", plugin="distill", settings=(*STUDENT, f"teacher.path={tmp_path / 'hits'}")
        )


def test_a_refused_teacher_leaves_the_run_as_it_was(student, tmp_path):
    shutil.copytree(student, tmp_path / "run")
    before = (tmp_path / "run" / "config.toml").read_bytes()
    with pytest.raises(DataError, match="there is no table nowhere"):
        xmc.train_run("tiny", tmp_path / "run", plugin="distill", settings=("teacher.path=nowhere",), overwrite=True)
    assert (tmp_path / "run" / "config.toml").read_bytes() == before
    Retriever.load(tmp_path / "run")


def test_a_damaged_folder_is_refused(taught, tmp_path):
    for name in ("scores-00000.arrow", VECTORS_NAME):
        damaged = tmp_path / name
        shutil.copytree(taught[0], damaged)
        data = bytearray((damaged / name).read_bytes())
        data[len(data) // 2] ^= 1
        (damaged / name).write_bytes(data)
        with pytest.raises(ArtifactError, match="is damaged: its SHA-256"):
            open_teacher(config_of(f"teacher.path={damaged}"))


def test_labels_without_vector_are_named(taught):
    data = load_dataset("tiny")
    shorter = data.labels.take(np.arange(59))
    assert Teacher(taught[0], (), "", has_vectors=True).vectors(type(data)("t", shorter, data.splits, "f")).shape == (
        59,
        32,
    )
    more = type(shorter)([*data.labels.ids, "zebra"], [*data.labels.texts, "zebra"])
    with pytest.raises(DataError, match="1 label of the data set has no vector, such as 'zebra'"):
        Teacher(taught[0], (), "", has_vectors=True).vectors(type(data)("t", more, data.splits, "f"))


def test_what_a_teacher_may_not_be(tiny_run, taught, tmp_path):
    with pytest.raises(ConfigError, match="is not empty"):
        xmc.teach(tiny_run, "tiny", taught[0])
    with pytest.raises(ConfigError, match=r"the settings of a teacher are those of \[encoder\], got \[train\]"):
        xmc.teach(tiny_run, "tiny", tmp_path / "out", settings=["train.epochs=3"])
    with pytest.raises(ConfigError, match="a run has settings of its own"):
        xmc.teach(tiny_run, "tiny", tmp_path / "out", settings=["encoder.max_tokens=3"])
    with pytest.raises(DataError, match=r"the labels of the run .* are not those of the data set icd10cm"):
        xmc.teach(tiny_run, "icd10cm", tmp_path / "out")
    mistyped = tiny_run.parent / "tinny"  # with the hub it would take a minute to learn that there is none
    for teacher, reason in (
        (mistyped, f"the folder {mistyped} is not there"),
        ("minilm", "the folder .*/minilm is not there"),
        ("~no-such-user/x", "the folder .*/~no-such-user/x is not there"),
        (tmp_path, f"the folder {tmp_path} holds neither config.toml nor modules.json"),
    ):
        with pytest.raises(ConfigError, match=f"--teacher {teacher}: nothing can teach .*{reason}") as raised:
            xmc.teach(teacher, "tiny", tmp_path / "out")
        assert "the folder of a trained run, or one that SentenceTransformer.save_pretrained wrote" in str(raised.value)
    with pytest.raises(ConfigError, match="k must"):
        xmc.teach(tiny_run, "tiny", tmp_path / "out", k=0)
    assert not (tmp_path / "out").exists()
