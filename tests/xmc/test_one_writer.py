"""Invariants: only `xmc.store` opens a final path for writing; what writes elsewhere fills a folder that is not yet
committed, and is listed here with that reason; nothing is ever pickled or evaluated."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("xmc", "plugins", "indexes")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if ROOT / "xmc" / "store" not in path.parents
]

UNCOMMITTED = "fills the folder of a version that is committed afterwards"
STREAM = "writes into the file object of `atomic_writer`"
ALLOWED = {
    ("xmc/engine/indexing.py", "save"): UNCOMMITTED,
    ("xmc/engine/onnx_files.py", "save"): UNCOMMITTED,
    ("xmc/engine/replacement.py", "rename"): "moves whole runs and their files, which are committed already",
    ("xmc/retrieve/checked_index.py", "save"): UNCOMMITTED,
    ("xmc/retrieve/sharded.py", "save"): UNCOMMITTED,
    ("xmc/retrieve/sharded.py", "write_text"): UNCOMMITTED,
    ("xmc/retrieve/trained_model.py", "save"): UNCOMMITTED,
    ("xmc/retrieve/trained_model.py", "save_file"): UNCOMMITTED,
    ("xmc/retrieve/query_map.py", "save_file"): UNCOMMITTED,
    ("xmc/retrieve/label_means.py", "save_file"): UNCOMMITTED,
    ("xmc/engine/reranking.py", "save"): UNCOMMITTED,
    ("plugins/xmc_linear/reranker.py", "save_file"): UNCOMMITTED,
    ("xmc/retrieve/bm25.py", "save_file"): UNCOMMITTED,
    ("xmc/retrieve/bm25.py", "write_text"): UNCOMMITTED,
    ("xmc/train/hard_negatives.py", "save_file"): UNCOMMITTED,
    ("xmc/train/augmented_queries.py", "write_text"): UNCOMMITTED,
    ("xmc/train/checkpoint.py", "save_file"): UNCOMMITTED,
    ("xmc/train/checkpoint.py", "write_text"): UNCOMMITTED,
    ("xmc/encode/", "save"): UNCOMMITTED,
    ("xmc/encode/", "save_file"): UNCOMMITTED,
    ("xmc/encode/", "save_pretrained"): UNCOMMITTED,
    ("xmc/encode/", "write_text"): UNCOMMITTED,
    ("indexes/xmc_index_exact/index.py", "save_file"): UNCOMMITTED,
    ("indexes/xmc_index_exact/index.py", "write_text"): UNCOMMITTED,
    ("indexes/xmc_index_faiss/_import.py", "open"): UNCOMMITTED,
    ("indexes/xmc_index_faiss/_import.py", "write_index"): "into that file piece by piece, or into a counter of bytes",
    ("xmc/retrieve/row_file.py", "save_file"): UNCOMMITTED,
    ("xmc/testing/check_index.py", "rename"): "the conformance kit: a saved index is moved within its temporary folder",
    ("indexes/xmc_index_faiss/index.py", "write_text"): UNCOMMITTED,
    ("indexes/xmc_index_faiss/ivf_index.py", "save_file"): UNCOMMITTED,
    ("indexes/xmc_index_faiss/ivf_index.py", "save"): UNCOMMITTED,
    ("indexes/xmc_index_sparse/index.py", "save_file"): UNCOMMITTED,
    ("indexes/xmc_index_sparse/index.py", "write_text"): UNCOMMITTED,
    ("xmc/train/curve.py", "print_png"): STREAM,
    ("xmc/evaluate/roc.py", "print_png"): STREAM,
    ("xmc/engine/pictures.py", "print_png"): "writes into memory; `write_bytes` takes the bytes",
    ("xmc/tune/label_vectors.py", "memmap"): "a file without a name, which goes with the process",
    ("xmc/data/label_files.py", "open"): STREAM,
    ("xmc/data/shards.py", "write_table"): STREAM,
    ("xmc/data/shards.py", "new_file"): STREAM,
    ("xmc/testing/check_index.py", "save"): "a conformance check, into a temporary folder",
    ("xmc/testing/check_cases.py", "save"): "an example index, into the folder that it is given",
}
# called as a method or as a function of a module; the writers of xmc.store are called by their bare names
WRITING_METHODS = {
    "write_text",
    "write_bytes",
    "save",
    "savez",
    "savez_compressed",
    "save_model",
    "save_pretrained",
    "tofile",
    "to_csv",
    "to_json",
    "to_parquet",
    "to_file",
    "to_disk",
    "write_index",
    "write_index_binary",
    "write_table",
    "write_feather",
    "write_csv",
    "new_file",
    "new_stream",
    "savefig",
    "print_png",
    "memmap",
    "mkstemp",
    "rename",
    "renames",
    "symlink_to",
    "hardlink_to",
    "touch",
    "truncate",
    "copy2",
    "copyfile",
    "copytree",
    "move",
    "dump",
    "write_parquet",
    "serialize_file",
}
WRITING_FUNCTIONS = {"save_file", "save_model", "serialize_file", "copyfile", "copytree", "copy2", "move", "rename"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_KEYWORDS = {"allow_pickle", "weights_only", "trust_remote_code"}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def opens_for_writing(call: ast.Call) -> bool:
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant) and isinstance(mode.value, str)]
    return any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts)


def writes(tree: ast.AST) -> Iterator[str]:
    """The name of every call that writes a file by itself."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        if isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if name in WRITING_METHODS | WRITING_FUNCTIONS or (name == "replace" and len(call.args) == 1):
                yield name
        elif isinstance(call.func, ast.Name):
            name = call.func.id
            if name in WRITING_FUNCTIONS:
                yield name
        else:
            continue
        if name == "open" and opens_for_writing(call):
            yield name


def forbidden(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from FORBIDDEN_MODULES.intersection(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from FORBIDDEN_MODULES.intersection({(node.module or "").partition(".")[0]})
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield from FORBIDDEN_CALLS.intersection({node.func.id})
            elif ast.unparse(node.func) == "torch.load":
                yield "torch.load"
            yield from FORBIDDEN_KEYWORDS.intersection(keyword.arg for keyword in node.keywords if keyword.arg)


@functools.cache
def found() -> set[tuple[str, str]]:
    """Every place that writes, by the name it has in the list: its file, or its folder where that is listed."""
    places = set()
    for path in SOURCES:
        file, folder = path.relative_to(ROOT).as_posix(), path.relative_to(ROOT).parent.as_posix() + "/"
        for name in writes(parsed(path)):
            places.add((folder if (folder, name) in ALLOWED else file, name))
    return places


def test_only_listed_places_write():
    assert found() - set(ALLOWED) == set(), "use xmc.store, or list the place with its reason"


def test_every_listed_place_still_writes():
    assert set(ALLOWED) - found() == set(), "take it off the list"


def test_nothing_is_pickled_or_evaluated():
    everything = [*SOURCES, *(ROOT / "xmc" / "store").glob("*.py")]
    assert len(everything) > 100
    assert {(path.name, name) for path in everything for name in forbidden(parsed(path))} == set()


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('xb')",
        "gzip.open(path, 'wb')",
        "path.open('r+')",
        "path.write_text(text)",
        "path.write_bytes(data)",
        "np.save(path, array)",
        "torch.save(state, path)",
        "save_file(tensors, path)",
        "safetensors.torch.save_file(tensors, path)",
        "faiss.write_index(index, path)",
        "json.dump(value, file)",
        "pa.parquet.write_table(table, path)",
        "temporary.rename(path)",
        "temporary.replace(path)",
        "shutil.move(a, b)",
    ],
)
def test_the_search_finds_each_way_to_write(line):
    assert list(writes(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    ["open(path)", "path.open('rb')", "text.replace('a', 'b')", "write_json(path, value)", "write_text(path, '')"],
)
def test_the_search_leaves_alone_what_does_not_write(line):
    assert not list(writes(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import dump", "eval(text)", "torch.load(path)", "np.load(path, allow_pickle=True)"],
)
def test_the_search_finds_what_is_forbidden(line):
    assert list(forbidden(ast.parse(line)))
