"""Whether the data set is still what a run was trained on, so that what it holds out was held out then."""

from __future__ import annotations

from pathlib import Path

from xmc.data.dataset import Dataset
from xmc.engine.card_reports import read_report


def data_since_training(run: Path, data: Dataset) -> str:
    """A sentence when the data set is another than in training; empty when it is the same.

    That is no error: a new test table makes it another one too, and only who made the tables knows what moved.
    """
    report = read_report(run / "train.json")
    if report is None:
        return "the run has no train.json, so it is not known which data it was trained on"
    if report["data"]["fingerprint"] == data.fingerprint:
        return ""
    return (
        f"data set '{data.name}' is not in the state that the run was trained on: figures are too good if queries that "
        "are held out now were trained on then"
    )
