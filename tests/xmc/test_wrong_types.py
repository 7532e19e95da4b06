"""What is of a wrong type is refused by every public function: by an error of xmc that says what was got."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

import xmc
from xmc.data.dataset import load_dataset
from xmc.errors import ConfigError, DataError
from xmc.retrieve.calibration import NO_CUT_OFFS

NO_STRING = (5, 1.5, float("nan"), b"x", [1], {1: 2}, np.int64(3), Path("x"), True, object(), np.zeros(3))
NO_LIST = (None, 5, float("nan"), b"x", np.int64(3), Path("x"), True, object())
NO_FUNCTION = (5, "x", [1], Path("x"), object())
SAID = r"got (NoneType|int|float|bytes|list|dict|int64|PosixPath|bool|object|ndarray|Tensor|str|None)\b"


def to_table(run, out):
    """By argument: a call with its value, and what is no such value."""
    retriever = xmc.Retriever.load(run)
    return {
        "train plugin": (lambda value: xmc.train_run("tiny", out, plugin=value), NO_STRING),
        "scale plugin": (lambda value: xmc.scale_run("tiny", runs={"a": run}, plugin=value), NO_STRING),
        "scale config": (lambda value: xmc.scale_run("tiny", runs={"a": run}, config_file=value), (5, b"x", [1])),
        "export format": (lambda value: xmc.export_run(run, out, format=value), (None, *NO_STRING)),
        "predict engine": (lambda value: xmc.predict_run(run, "q", out, engine=value), (None, *NO_STRING)),
        "choose estimator": (lambda value: xmc.choose_run("log", {"a": run}, estimator=value), (None, *NO_STRING)),
        "check names": (partial(xmc.check_run, run), (*NO_LIST, [1], [None], {1: 2})),
        "check fit_split": (lambda value: xmc.check_run(run, "exactness", fit_split=value), (None, *NO_STRING)),
        "remove label_ids": (partial(xmc.remove_labels, run), (None, 5, np.int64(3), Path("x"), object())),
        "rerank on_progress": (lambda value: xmc.rerank_run(run, on_progress=value), NO_FUNCTION),
        "evaluate on_progress": (lambda value: xmc.evaluate_run(run, on_progress=value), NO_FUNCTION),
        "teach on_progress": (lambda value: xmc.teach(run, "tiny", out, on_progress=value), NO_FUNCTION),
        "check on_progress": (lambda value: xmc.check_run(run, "exactness", on_progress=value), NO_FUNCTION),
        "scale on_progress": (lambda value: xmc.scale_run(runs={"a": run}, on_progress=value), NO_FUNCTION),
        "predict on_progress": (lambda value: xmc.predict_run(run, "q", out, on_progress=value), NO_FUNCTION),
        "search_vectors": (retriever.search_vectors, (None, 5, "x", b"x", [1], object())),
        "search_table": (retriever.search_table, (None, 5, "x", [1], object())),
        "judged_hits": (retriever.judged_hits, (None, 5, "x", [1], object())),
        "load plugins": (lambda value: xmc.Retriever.load(run, plugins=value), (5, "x", [1], object())),
    }


@pytest.fixture(scope="module")
def table(tiny_run, tmp_path_factory):
    return to_table(tiny_run, tmp_path_factory.mktemp("wrong") / "out")


def test_what_is_of_a_wrong_type_is_refused_in_words(table):
    for argument, (call, values) in table.items():
        for value in values:
            with pytest.raises((ConfigError, DataError), match=SAID):
                call(value)
                pytest.fail(f"{argument}: {value!r}")


@pytest.mark.parametrize("value", ["x", b"x", [1], object()])
def test_a_cut_off_by_what_is_no_number(value):
    with pytest.raises(ConfigError, match="precision must be a number, got"):
        NO_CUT_OFFS.choose(precision=value)


def test_a_split_by_what_is_no_name():
    data = load_dataset("tiny")
    for split in (None, *NO_STRING):
        with pytest.raises(DataError, match="data set 'tiny' has no split"):
            data.queries_of(split)
