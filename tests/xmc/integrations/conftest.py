"""A calibrated run for the adapters to retrieval frameworks."""

import shutil

import pytest

import xmc


@pytest.fixture(scope="session")
def calibrated_run(tiny_run, tmp_path_factory):
    """`tiny_run` with probabilities, fitted with queries that nothing answers; not to be changed."""
    run = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(tiny_run, run)
    xmc.check_run(run, ["calibrate"], settings=["check.calibrate.unanswerable=0.3"])
    return run


@pytest.fixture
def calibrated_copy(calibrated_run, tmp_path):
    """A copy of `calibrated_run` that a test may change."""
    copy = tmp_path / "calibrated-run"
    shutil.copytree(calibrated_run, copy)
    return copy
