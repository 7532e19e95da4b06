"""Invariant: what is wrong in configuration, data, files or usage ends with code 2, one sentence that says what and
where, and no traceback; standard output stays empty."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from xmc.data.dataset import load_dataset
from xmc.retrieve.layout import encoder_store

DATA = load_dataset("tiny")


@pytest.fixture
def refused(xmc_command):
    """Call xmc, expect a refusal, and return the sentence with its hint as one line."""

    def call(*arguments):
        code, out, err = xmc_command(*arguments)
        assert code == 2, (code, out, err)
        assert not out and "Traceback" not in err
        lines = err.strip().splitlines()
        assert len(lines) <= 2 and lines[0].startswith("error: "), err
        assert lines[0].rstrip().endswith((".", "?")), err
        if len(lines) == 2:
            assert lines[1].startswith("hint: ")
        return " ".join(lines)

    return call


def data_folder(folder, **tables):
    """A data set folder: two labels and two queries, but for what `tables` says (None = no such file)."""
    standard = {
        "labels": {"label_id": ["l1", "l2"], "text": ["red fish", "blue fish"]},
        "train": {"query_id": ["q1", "q2"], "text": ["red", "blue"], "positives": [["l1"], ["l2"]]},
        "dev": {"query_id": ["d1"], "text": ["red"], "positives": [["l1"]]},
    }
    folder.mkdir()
    for name, columns in {**standard, **tables}.items():
        if columns is not None:
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "train.epoch=3"], "--set: [train] has no key 'epoch' .*Did you mean 'epochs'"),
        (["--set", "trian.epochs=3"], "--set: there is no section [trian] .*Did you mean 'train'"),
        (["--set", "train.epochs=many"], "--set: [train] epochs: Input should be a valid integer.*got 'many'"),
        (["--set", "train.epochs=2.5"], "--set: [train] epochs: .* got 2.5"),
        (["--epochs", "-1"], "command line: [train]: epochs must be >= 0, got -1"),
        (["--set", "train.learning_rate=nan"], "learning_rate must be a finite number > 0, got nan"),
        (["--set", "train.epochs"], "--set 'train.epochs' is not section.key=value. hint: Example"),
        (["--set", "epochs=3"], "--set 'epochs=3' is not section.key=value"),
        (["--plugin", "dexmll"], "unknown recipe 'dexmll'. Did you mean 'dexml'"),
        (["--set", "loss.name=dexml.decoupled-softmx"], "unknown loss 'dexml.decoupled-softmx'. Did you mean 'dexml.d"),
        (["--set", "index.name=annoy"], "unknown index 'annoy'.*Installed: .*exact"),
        (["--set", "encoder.name=bert"], "unknown encoder 'bert'.*Installed: .*static"),
        (["--data", "tinny"], "there is no data set 'tinny': shipped are icd10cm, tiny.*Did you mean 'tiny'"),
        (["--data", ""], "no data set is named. hint: Give --data"),
        (["--config", "/nowhere/my.toml"], "there is no configuration file /nowhere/my.toml"),
        (["--device", "gpu"], "device must be 'auto', 'cpu' or 'cuda', got 'gpu'"),
        (
            ["--set", "encoder.name=sentence-transformers", "--set", "encoder.model=./nowhere"],
            "[encoder] model: ./nowhere is not a sentence-transformers folder",
        ),
        (["--set", "encoder.name=sentence-transformers"], "[encoder] model is empty. hint: Set encoder.model=PATH"),
        (["--set", "encoder.pretrained=nowhere"], "package 'nowhere' is not installed. hint: Try: pip install nowhere"),
        (["--set", "encoder.pretrained=wordllama", "--set", "encoder.dimension=8"], "hint: Set encoder.dimension=256"),
        (["--set", "encoder.vocabulary_size=5"], "vocabulary_size must be >= 100, got 5"),
        (["--resume", "--overwrite"], "give only one of them"),
        (
            ["--set", "encoder.name=moe-static", "--set", "encoder.dimension=4999", "--set", "encoder.experts=9999"],
            "there is not enough memory",
        ),
        (
            ["--set", f"train.batch_size=1{'0' * 30}"],
            "[train] batch_size: Input should be a whole number of at",
        ),
        (
            ["--set", "encoder.name=tfidf", "--set", "encoder.label_scale=inf"],
            "label_scale must be a finite number > 0, got inf",
        ),
        (["--set", "train.seed=99999999999999999999"], "--set: [train]: seed must be below 2^63"),
    ],
)
def test_a_configuration_that_cannot_be(refused, tmp_path, arguments, message):
    data = [] if "--data" in arguments else ["--data", "tiny"]
    said = refused("train", "--out", tmp_path / "run", *data, *arguments)
    for part in message.split(".*"):
        assert part in said, said
    assert not (tmp_path / "run" / "encoder").exists()


def test_names_that_are_not_utf_8(refused, tmp_path):
    odd = f"{tmp_path}/d\udcff"
    assert "[data] name: Input should be UTF-8" in refused("train", "--out", tmp_path / "run", "--data", odd)
    assert "has a name that is not UTF-8. hint: Give another --out" in refused("train", "--data", "tiny", "--out", odd)
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_file_that_is_no_toml(refused, tmp_path):
    (tmp_path / "my.toml").write_text("[train\nepochs = 3")
    assert "my.toml is not valid TOML" in refused("config", "--config", tmp_path / "my.toml")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"labels": None}, "has no labels.parquet, labels.arrow or folder labels/"),
        ({"train": None}, "has no train.parquet, train.arrow or folder train/"),
        ({"labels": {"label_id": ["l1", "l2"]}}, "labels.parquet: no column named 'text' (it has: label_id)"),
        (
            {"train": {"query_id": ["q1"], "text": ["red"]}},
            "train.parquet: no column named 'positives' (it has: query_id, text)",
        ),
        ({"train": {"query_id": ["q"], "text": ["red"], "positives": [["l9"]]}}, "'l9'"),
        ({"train": {"query_id": ["q"], "text": ["red"], "positives": [[2]]}}, "2"),
        ({"train": {"query_id": ["q"], "text": ["red"], "positives": [[-1]]}}, "-1"),
        (
            {"train": {"query_id": ["q"], "text": ["red"], "positives": pa.array([[]], pa.list_(pa.string()))}},
            "the table 'train' has no query with text and positives. hint: train: 1 of 1 queries are without positives",
        ),
        ({"train": {"query_id": ["q"], "text": [" "], "positives": [["l1"]]}}, "has no query with text and positives"),
        ({"labels": {"label_id": ["l1", "l1"], "text": ["a", "b"]}}, "'l1' (2 times)"),
        ({"labels": {"label_id": ["l1", "l2"], "text": ["a", ""]}}, "1 label has no text: row 1 ('l2')"),
        ({"labels": {"label_id": ["l1", "l2"], "text": [1, 2]}}, "column 'text'"),
        ({"train": {"query_id": ["q", None], "text": ["a", "b"], "positives": [["l1"], ["l1"]]}}, "'query_id'"),
        ({"dev": None}, "a dev split of 0.05 of 2 train queries leaves one side empty. hint: "),
    ],
)
def test_data_that_breaks_its_schema(refused, tmp_path, tables, message):
    folder = data_folder(tmp_path / "data", **tables)
    said = refused("train", "--data", folder, "--out", tmp_path / "run")
    assert message in said and (str(folder) in said or "dev split" in said)
    assert not (tmp_path / "run").exists()


def test_a_table_that_is_no_table_or_cut_short(refused, tmp_path):
    folder = data_folder(tmp_path / "data")
    whole = (folder / "train.parquet").read_bytes()
    for content in (b"", b"not a table at all", whole[: len(whole) // 2]):
        (folder / "train.parquet").write_bytes(content)
        said = refused("train", "--data", folder, "--out", tmp_path / "run")
        assert "train.parquet cannot be read" in said and ".." not in said


def test_a_folder_that_must_not_be_written_into(refused, tmp_path, tiny_run):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    said = refused("train", "--data", "tiny", "--out", tmp_path / "mine")
    assert "mine is not empty. hint: Use --resume to go on, --overwrite to start anew, or another --out" in said
    assert "it is not overwritten" in refused("train", "--data", "tiny", "--out", tmp_path / "mine", "--overwrite")
    assert "is not empty" in refused("train", "--data", "tiny", "--out", tiny_run)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    said = refused("train", "--data", "tiny", "--out", tmp_path / "mine" / "thesis.txt")
    assert "thesis.txt is a file; a run is a folder" in said
    said = refused("train", "--data", "tiny", "--out", tmp_path / "mine" / "thesis.txt" / "run")
    assert "thesis.txt is a file, so" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", ""], "query 0 is an empty text; it must be a text with at least one character"),
        (["search", "  \n"], "query 0 is an empty text"),
        (["search", "tram", "-k", "0"], "k must lie in 1..10,000, got 0"),
        (["search", "tram", "-k", "-3"], "k must lie in 1..10,000, got -3"),
        (["search", "tram", "-k", "10001"], "k must lie in 1..10,000, got 10,001"),
        (["search"], "give either a text or --queries. hint: Example: xmc search"),
        (["search", "tram", "--queries", "q.parquet", "--out", "hits"], "give either a text or --queries"),
        (["search", "tram", "--out", "hits"], "--out is for the hits of --queries"),
        (["search", "--queries", "q.parquet"], "--queries needs --out, the folder for the hits"),
        (["search", "--queries", "q*.parquet", "--out", "hits"], "/q*.parquet. hint: Give a .parquet or .arrow file"),
        (["search", "tram", "--device", "gpu"], "'gpu'"),
        (["evaluate", "--split", "tset"], "data set 'tiny' has no split 'tset' (it has: train, dev, test)"),
        (["evaluate", "--set", "evaluate.ks=[]"], "evaluate.ks must be one or more of 1..10,000, got ()"),
        (["evaluate", "--set", "evaluate.k=3"], "[evaluate] has no key 'k'"),
        (["index", "--set", "index.name=fais.flat"], "unknown index 'fais.flat'. Did you mean 'faiss.flat'"),
        (["index", "--device", "tpu"], "'tpu'"),
    ],
)
def test_a_question_that_a_run_cannot_answer(refused, tiny_run, arguments, message):
    said = refused(*arguments, "--run", tiny_run)
    assert message in said


def test_an_unknown_label_is_told_in_words_of_the_command_line(refused, tiny_run, tmp_path):
    pq.write_table(pa.table({"query_id": ["q"], "text": ["red"]}), tmp_path / "q.parquet")
    (tmp_path / "ids").write_text("ZZZ\n")
    batch = ("--queries", tmp_path / "q.parquet", "--out", tmp_path / "hits")
    for words in (("red", "--allow", "ZZZ"), ("red", "--allowed", tmp_path / "ids"), (*batch, "--allow", "ZZZ")):
        said = refused("search", *words, "--run", tiny_run)
        assert "not there: 'ZZZ'" in said and "hint: Leave them out of --allow" in said and "retriever" not in said
    assert not (tmp_path / "hits").exists()


def test_advice_of_a_table_search_names_the_verb_that_can_take_it(refused, xmc_command, tiny_run, tmp_path):
    pq.write_table(pa.table({"query_id": ["q"], "text": ["red"]}), tmp_path / "q.parquet")
    words = ("search", "--queries", tmp_path / "q.parquet", "--out", tmp_path / "hits", "--run", tiny_run)
    assert xmc_command(*words)[0] == 0
    said = refused(*words, "-k", "3")
    assert "--overwrite to replace it. These are options of xmc predict: write --workers 1 --shards in place of" in said


def test_more_hits_than_labels_is_no_mistake(xmc_command, tiny_run):
    code, out, _ = xmc_command("search", "tram", "--run", tiny_run, "-k", "5000", "--json")
    assert code == 0 and out.count('"rank"') == 60


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"query_id": ["a"]},
            "column 'text' is missing (it has: query_id). hint: Queries need query_id, and text or embedding",
        ),
        ({"text": ["a"]}, "q.parquet: column 'query_id' is missing"),
        ({"query_id": ["a"], "text": [3]}, "q.parquet: column 'text' has type int64, allowed: string"),
        ({"query_id": [1.5], "text": ["tram"]}, "q.parquet: column 'query_id' has type double, allowed: string"),
    ],
)
def test_a_table_of_queries_that_are_none(refused, tiny_run, tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "q.parquet")
    said = refused("search", "--run", tiny_run, "--queries", tmp_path / "q.parquet", "--out", tmp_path / "hits")
    assert message in said and not (tmp_path / "hits" / "q.parquet").exists()


def test_hits_that_would_overwrite_queries_or_each_other(refused, tiny_run, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pq.write_table(pa.table({"query_id": ["q"], "text": ["tram"]}), tmp_path / folder / "q.parquet")
    before = (tmp_path / "a" / "q.parquet").read_bytes()
    search = ("search", "--run", tiny_run, "--queries")
    assert "would overwrite queries" in refused(*search, tmp_path / "a" / "q.parquet", "--out", tmp_path / "a")
    assert (tmp_path / "a" / "q.parquet").read_bytes() == before
    pq.write_table(pa.table({"query_id": ["q"], "text": ["tram"]}), tmp_path / "a" / "r.parquet")
    (tmp_path / "a" / "r.parquet").rename(tmp_path / "a" / "q.arrow")
    assert "would both write" in refused(*search, tmp_path / "a", "--out", tmp_path / "hits")


VERBS_ON_A_RUN = [
    ("search", "tram", "--run"),
    ("evaluate", "--run"),
    ("index", "--run"),
    ("info",),
]


@pytest.mark.parametrize("verb", VERBS_ON_A_RUN, ids=lambda verb: verb[0])
def test_a_folder_that_is_no_run(refused, tmp_path, verb):
    assert "nowhere" in refused(*verb, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(*verb, tmp_path / "empty")
    (tmp_path / "file").write_text("not a run")
    assert "file" in refused(*verb, tmp_path / "file")
    assert not list((tmp_path / "empty").iterdir()), "looking leaves nothing behind"


@pytest.mark.parametrize("verb", VERBS_ON_A_RUN, ids=lambda verb: verb[0])
def test_an_artefact_that_is_cut_short(refused, tiny_run_copy, verb):
    path = encoder_store(tiny_run_copy).current().folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    said = refused(*verb, tiny_run_copy)
    assert "model.safetensors is damaged: it has " in said and "hint: Restore it from a copy, or build it again" in said


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.toml", b"[train", "config.toml is not valid TOML"),
        ("config.toml", b"\xff", "config.toml is not valid TOML"),
        ("train.json", b"{", "train.json is damaged: it cannot be read"),
        ("train.json", b"[]", "train.json is damaged: it is no JSON object"),
        ("train.json", b"\xff", "train.json is damaged: it cannot be read"),
        ("encoder/CURRENT", b"{}", "CURRENT is damaged"),
        ("index/CURRENT", b"", "CURRENT is damaged"),
    ],
)
def test_a_run_with_a_spoilt_file(refused, tiny_run_copy, file, content, message):
    (tiny_run_copy / file).write_bytes(content)
    assert message in refused("info", tiny_run_copy)


def test_weights_that_are_not_finite(refused, tiny_run_copy):
    """Committed as a version of its own, so that every checksum is right."""
    store = encoder_store(tiny_run_copy)
    old = store.current()
    with store.new_version(facts=old.manifest.facts) as folder:
        shutil.copytree(old.folder, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        weights = load_file(folder / "model.safetensors")
        weights["embedding.weight"][3, 1] = float("nan")
        save_file(weights, folder / "model.safetensors")
    for verb in VERBS_ON_A_RUN[:3]:
        assert "has weights that are not finite. hint: Train it again" in refused(*verb, tiny_run_copy)


@pytest.fixture
def sick_plugin(tmp_path, monkeypatch):
    """An installed distribution whose plugin fails at import."""
    site = tmp_path / "site"
    metadata = site / "xmc_sick-0.4.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: xmc-sick\nVersion: 0.4\n")
    (metadata / "entry_points.txt").write_text("[xmc]\nsick = xmc_sick\n")
    (site / "xmc_sick.py").write_text("import a_module_that_nobody_installed")
    monkeypatch.syspath_prepend(site)
    return site


@pytest.mark.parametrize("arguments", [["--plugin", "sick"], ["--set", "loss.name=sick.hinge"]])
def test_a_plugin_that_fails_to_import_is_named_when_asked_for(refused, sick_plugin, tmp_path, arguments):
    said = refused("train", "--data", "tiny", "--out", tmp_path / "run", *arguments)
    assert "plugin 'sick' (xmc-sick 0.4) failed to load: ModuleNotFoundError: No module named 'a_module_that" in said
    assert "hint: Mend or uninstall it, or leave it out with XMC_DISABLED_PLUGINS" in said


def test_a_plugin_that_fails_to_import_stops_nothing_else(xmc_command, sick_plugin, tiny_run):
    assert xmc_command("search", "tram", "--run", tiny_run)[0] == 0
    assert xmc_command("config")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["serch"],
        ["train"],
        ["train", "--epochs", "x"],
        ["search", "a"],
        ["info", "--colour"],
        ["evaluate", "--run"],
    ],
)
def test_wrong_usage_is_code_2_and_no_traceback(xmc_command, arguments):
    code, out, err = xmc_command(*arguments)
    assert code == 2 and not out and "Traceback" not in err and "Error" in err and "pytest" not in err


def test_in_a_process_of_its_own(tmp_path, sick_plugin):
    """The same through the installed command, with the plugin on PYTHONPATH."""
    command = [
        Path(sys.executable).parent / "xmc",
        "train",
        "--data",
        "tiny",
        "--out",
        tmp_path / "run",
        "--plugin",
        "sick",
    ]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(sick_plugin)}
    )
    assert done.returncode == 2 and not done.stdout
    assert (
        done.stderr.startswith("error: plugin 'sick' (xmc-sick 0.4) failed to load") and "Traceback" not in done.stderr
    )


def test_a_folder_without_a_run_cannot_be_gone_on_with_unless_data_are_named(refused, tmp_path):
    said = refused("train", "--out", tmp_path / "run", "--resume")
    assert f"there is no run in {tmp_path / 'run'} to go on with. hint: Is it the right folder?" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--data", "nowhere"),
        ("export", "--run", "RUN"),
        ("teach", "--teacher", "RUN", "--data", "tiny"),
        ("scale", "--data", "tiny", "--budget", "1"),
    ],
)
def test_a_file_where_a_folder_would_be_made_is_told_at_once(refused, tiny_run, tmp_path, words):
    (tmp_path / "notes").write_text("a file")
    words = [str(tiny_run) if word == "RUN" else word for word in words]
    said = refused(*words, "--out", tmp_path / "notes" / "a" / "b")
    assert f"{tmp_path}/notes is a file, so {tmp_path}/notes/a/b cannot be made in it. hint: Choose another" in said
