"""A calibrated run, an app over it, and the command over it."""

import shutil

import httpx
import pytest
from serve_cases import ADMIN, client_of, served

import xmc

QUICK = ["check.calibrate.bootstrap_samples=20"]


@pytest.fixture(scope="session")
def calibrated_run(tiny_run, tmp_path_factory):
    """A run with a calibration and label sets; shared, so it must not be changed."""
    run = tmp_path_factory.mktemp("serve") / "calibrated"
    shutil.copytree(tiny_run, run)
    xmc.check_run(run, ["calibrate", "conformal"], settings=QUICK, device="cpu")
    return run


@pytest.fixture(scope="session")
def offline(calibrated_run):
    """What the embedded library answers."""
    return xmc.Retriever.load(calibrated_run)


@pytest.fixture(scope="module")
def client(calibrated_run, tiny_run):
    with client_of({"good": calibrated_run, "plain": tiny_run}, docs=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def live(calibrated_run):
    """The command over a calibrated run, with small limits in time."""
    limits = ["--limit", "header_s=1", "--limit", "body_s=1", "--limit", "connections=400"]
    with served("--run", f"good={calibrated_run}", *limits, env={"XMC_ADMIN_TOKEN": ADMIN}) as process:
        yield process


@pytest.fixture
def live_client(live):
    with httpx.Client(base_url=live.address, timeout=20) as client:
        yield client
