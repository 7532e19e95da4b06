"""Invariants: an exported folder gives the run's own embeddings and says how near, is whole or not there at all, and
what its README shows works."""

import json
import shutil
import signal
import sys
import time

import forked
import numpy as np
import pytest
from repetitions import only_in_full

import xmc
from xmc.data.dataset import load_dataset
from xmc.data.shards import write_table
from xmc.data.tables import label_table_to_arrow, query_table_to_arrow
from xmc.encode.text_graph import MeanOfTokens
from xmc.engine.export_check import Comparison, compare, sample_texts
from xmc.engine.exporting import EXPORT_KIND, ExportError
from xmc.engine.onnx_files import OnnxFiles
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.retrieve.layout import encoder_store
from xmc.retrieve.retriever import Retriever
from xmc.store import verify_folder

TINY = load_dataset("tiny")
QUICK = ("train.epochs=1", "encoder.dimension=16")


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("exports") / "tiny"
    return out, xmc.export_run(tiny_run, out)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def code_of(readme):
    return readme.partition("```python\n")[2].partition("\n```")[0]


def run_readme(folder, monkeypatch, capsys):
    """Run the README's code in its folder; what it printed and its `embed`."""
    monkeypatch.chdir(folder)
    module = {}
    exec(compile(code_of((folder / "README.md").read_text(encoding="utf-8")), "README.md", "exec"), module)
    return capsys.readouterr().out, module["embed"]


def test_the_folder_is_sealed_and_its_report_is_the_one_returned(exported, tiny_run):
    out, report = exported
    manifest = verify_folder(out, kind=EXPORT_KIND)
    assert set(manifest.files) == {"README.md", "export.json", "model.onnx", "tokenizer.json"}
    written = json.loads((out / "export.json").read_text())
    assert written == report.to_dict()
    assert written["encoder_sha256"] == encoder_store(tiny_run).current().sha256 == manifest.facts["encoder_sha256"]
    assert {"onnx", "onnxruntime", "torch"} <= set(written["versions"])
    for found in written["comparisons"].values():
        assert 0 <= found["largest_difference"] < 1e-5 and found["smallest_cosine"] > 0.99999 and found["passed"]
    assert names(out.parent) == ["tiny"]


def test_the_code_of_the_readme_gives_the_embeddings_of_the_run(exported, tiny_run, monkeypatch, capsys):
    printed, embed = run_readme(exported[0], monkeypatch, capsys)
    assert printed == "(2, 3)\n"
    retriever = Retriever.load(tiny_run)
    for texts in (TINY.test.texts[:1], [*TINY.test.texts[:30], "größer", "日本語"]):
        np.testing.assert_allclose(embed(texts, "query"), retriever.encode(texts), rtol=0, atol=1e-6)
    labels_LD = embed(TINY.labels.texts, "label")
    best = (embed(TINY.test.texts, "query") @ labels_LD.T).argmax(axis=1)
    expected = [hits[0].label_id for hits in retriever.search(TINY.test.texts, k=1)]
    assert [TINY.labels.ids[row] for row in best] == expected


def test_two_towers_are_two_graphs(tmp_path, monkeypatch, capsys):
    settings = [*QUICK, "encoder.shared=false", "encoder.similarity=dot"]
    xmc.train_run("tiny", tmp_path / "run", settings=settings)
    report = xmc.export_run(tmp_path / "run", tmp_path / "out").to_dict()
    assert [side["model"] for side in report["sides"].values()] == ["query/model.onnx", "label/model.onnx"]
    verify_folder(tmp_path / "out", kind=EXPORT_KIND)
    _, embed = run_readme(tmp_path / "out", monkeypatch, capsys)
    query, label = (embed(["tender tram"], side) for side in ("query", "label"))
    np.testing.assert_allclose(query, Retriever.load(tmp_path / "run").encode(["tender tram"]), rtol=1e-5, atol=1e-6)
    assert not np.allclose(query, label)


def test_a_head_that_keeps_more_than_texts_is_noted(tmp_path):
    xmc.train_run("tiny", tmp_path / "run", settings=[*QUICK, "head.name=classifier"])
    report = xmc.export_run(tmp_path / "run", tmp_path / "out")
    assert report.passed and "keeps more of a label than its text" in report.notes[0]
    assert report.notes[0] in (tmp_path / "out" / "README.md").read_text()


def test_labels_that_were_moved_are_noted(tiny_run_copy, tmp_path):
    xmc.index_run(tiny_run_copy, settings={"labels.query_weight": 0.5})
    (note,) = xmc.export_run(tiny_run_copy, tmp_path / "out").notes
    assert "moved towards their training queries" in note


@only_in_full
@pytest.mark.pretrained
@pytest.mark.slow
def test_minilm_trained_and_exported(tmp_path, monkeypatch, capsys, minilm):
    (tmp_path / "data").mkdir()
    settings = [
        "encoder.name=sentence-transformers", f"encoder.model={minilm}", "encoder.max_tokens=24",
        'encoder.query_prompt="find: "', "train.epochs=1", "train.batch_size=16",
    ]  # fmt: skip
    write_table(tmp_path / "data" / "labels.parquet", label_table_to_arrow(TINY.labels))
    for split, queries in (("train", TINY.train), ("dev", TINY.dev)):
        write_table(tmp_path / "data" / f"{split}.parquet", query_table_to_arrow(queries.take(np.arange(16))))
    xmc.train_run(tmp_path / "data", tmp_path / "run", settings=settings)
    report = xmc.export_run(tmp_path / "run", tmp_path / "out").to_dict()
    assert report["sides"]["query"]["prompt"] == "find: " and report["sides"]["label"]["prompt"] == ""
    _, embed = run_readme(tmp_path / "out", monkeypatch, capsys)
    texts = [*TINY.test.texts[:31], "größer " * 200]
    expected = Retriever.load(tmp_path / "run").encode(texts)
    np.testing.assert_allclose(embed(texts, "query"), expected, rtol=0, atol=2e-6)


def test_a_graph_that_is_not_equal_is_refused_and_leaves_nothing(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(MeanOfTokens, "forward", lambda self, ids_NT, mask_NT: self.table_VD[ids_NT].mean(dim=1))
    with pytest.raises(ExportError, match=r"differ by up to .* allowed is .* Nothing was written") as caught:
        xmc.export_run(tiny_run, tmp_path / "out")
    assert not caught.value.report.passed and names(tmp_path) == []


@pytest.mark.parametrize(
    ("difference", "value", "cosine", "passed"),
    [
        (9e-5, 1.0, 1.0, True),
        (1.1e-4, 1.0, 1.0, False),
        (1.1e-4, 2.0, 1.0, True),
        (0.0, 1.0, 0.9999, False),
        (float("nan"), 1.0, 1.0, False),
        (0.0, 1.0, float("nan"), False),
        (0.0, 0.0, 1.0, True),
    ],
)
def test_the_verdict(difference, value, cosine, passed):
    comparison = Comparison("query", 1, difference, value, cosine)
    assert comparison.passed is passed
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_a_single_wrong_embedding_is_found(tiny_run):
    encoder = Retriever.load(tiny_run).model.encoder
    texts = sample_texts(TINY.labels.texts)

    def all_but_one(batch):
        embeddings = encoder.embed(encoder.prepare(batch, "label"), "label").detach().numpy().copy()
        if texts[20] in batch:
            embeddings[batch.index(texts[20])] *= -1
        return embeddings

    found = compare(encoder, all_but_one, texts, "label", "")
    assert not found.passed and found.smallest_cosine == pytest.approx(-1)


def test_the_sample_has_short_long_and_foreign_texts():
    texts = sample_texts(["one", "two"])
    assert "" in texts and {"one", "two"} <= set(texts) and max(map(len, texts)) > 5000
    assert any(ord(sign) > 0xFFFF for text in texts for sign in text)
    assert 64 < len(sample_texts(TINY.train.texts)) < 96


def test_files_that_were_damaged_later_are_found(exported, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exported[0], copy)
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"model\.onnx is damaged"):
        verify_folder(copy, kind=EXPORT_KIND)


def test_what_is_wrong_is_said_before_anything_is_written(tiny_run_copy, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = names(tmp_path)
    for out, format, error, reason in (
        ("full", "onnx", ConfigError, "not empty"),
        ("out", "onxx", ConfigError, "Did you mean 'onnx'"),
    ):
        with pytest.raises(error, match=reason):
            xmc.export_run(tiny_run_copy, tmp_path / out, format=format)
    with pytest.raises(ConfigError, match="not a run folder"):
        xmc.export_run(tmp_path / "nowhere", tmp_path / "out")
    (encoder_store(tiny_run_copy).current().folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is damaged"):
        xmc.export_run(tiny_run_copy, tmp_path / "out")
    assert names(tmp_path) == before


def test_a_data_set_that_is_gone_is_said(tiny_run_copy, tmp_path):
    config = tiny_run_copy / "config.toml"
    config.write_text(config.read_text().replace('name = "tiny"', 'name = "data/gone"'))
    with pytest.raises(DataError, match="data/gone"):
        xmc.export_run(tiny_run_copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_a_graph_is_refused_with_those_that_have_one(tmp_path):
    settings = ["encoder.name=tfidf", "encoder.dimension=8", "train.epochs=1", "head.name=dual-encoder"]
    xmc.train_run("tiny", tmp_path / "run", settings=settings)
    with pytest.raises(ConfigError, match=r"'tfidf' cannot be exported.*static, sentence-transformers"):
        xmc.export_run(tmp_path / "run", tmp_path / "out")
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_library_is_said_with_its_extra(tiny_run, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'xmc-engine\[onnx\]'"):
        xmc.export_run(tiny_run, tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.slow
def test_killed_while_it_writes_it_leaves_no_folder_and_can_be_started_again(tiny_run, tmp_path):
    out = tmp_path / "out"
    process = forked.Forked(forked.xmc, "export", "--run", tiny_run, "--out", out)
    while process.poll() is None and not list(tmp_path.glob(".tmp-*/model.onnx")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not out.exists() and len(names(tmp_path)) == 1
    xmc.export_run(tiny_run, out)
    assert names(tmp_path) == ["out"]
    assert OnnxFiles(out).embed(["tender tram"]).shape == (1, 32)
