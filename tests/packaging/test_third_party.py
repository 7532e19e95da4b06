"""Invariants, in an environment where xmc and the plugins are installed from wheels: a third party's loss is found and
keeps the contract; three broken plugins are listed with distribution and error, and stop nothing."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from wheel_builder import build_wheel

FIXTURES = Path(__file__).parents[1] / "fixtures"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(engine_wheel, tmp_path_factory):
    """Run a command of a fresh environment that has xmc and the four plugins; heavy libraries are lent by a .pth."""
    folder = tmp_path_factory.mktemp("third-party")
    sources = [FIXTURES / "xmc-loss-foo", *sorted((FIXTURES / "broken").iterdir())]
    wheels = [engine_wheel, *(build_wheel(source, folder) for source in sources)]
    home = folder / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    install = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, *map(str, wheels)], check=True, capture_output=True, timeout=300)
    (site_packages,) = home.glob("**/site-packages")
    (site_packages / "lent.pth").write_text(sysconfig.get_path("purelib"))  # read last: it cannot hide what is here

    def run(*command, **environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XMC_"))}
        return subprocess.run(
            [scripts / command[0], *command[1:]],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=folder,
            env=clean | environment,
        )

    return run


def test_xmc_really_comes_from_the_wheel(run):
    done = run("python", "-c", "import xmc, xmc_dexml; print(xmc.__file__, xmc_dexml.__file__)")
    assert done.stdout.count("third-party") == 2, done.stdout + done.stderr


def test_the_third_party_loss_is_listed_among_the_built_in_ones(run):
    done = run("xmc", "plugins", "--json")
    assert done.returncode == 0, done.stderr
    losses = {offer["name"] for offer in json.loads(done.stdout)["offers"] if offer["kind"] == "loss"}
    assert losses >= {"foo.hinge", "dexml.decoupled-softmax", "baselines.info-nce"}
    assert not any("never-seen" in name for name in losses)


def test_each_broken_plugin_is_listed_with_its_distribution_and_its_error(run):
    done = run("xmc", "plugins", "--failed", "--json")
    assert done.returncode == 1
    failed = {row["plugin"]: row for row in json.loads(done.stdout)["plugins"]}
    assert failed.keys() == {"broken", "misspelled", "wrong-argument"}
    assert failed["broken"]["distribution"] == "xmc-broken-import 0.1"
    assert "No module named 'a_module_that_nobody_installed'" in failed["broken"]["error"]
    assert failed["misspelled"]["distribution"] == "xmc-misspelled-hook 0.2"
    assert "unknown hook 'xmc_lossess'" in failed["misspelled"]["error"]
    assert failed["wrong-argument"]["distribution"] == "xmc-wrong-argument 0.3"
    assert "{'verbose'}" in failed["wrong-argument"]["error"]


def test_show_requirements_and_doctor_work_beside_the_broken_ones(run):
    assert "margin" in run("xmc", "plugins", "show", "hinge").stdout
    assert "xmc-loss-foo==0.1" in run("xmc", "plugins", "--requirements").stdout.splitlines()
    doctor = run("xmc", "doctor", "--json")
    problems = "\n".join(json.loads(doctor.stdout)["problems"])
    assert doctor.returncode == 1
    for distribution in ("xmc-broken-import 0.1", "xmc-misspelled-hook 0.2", "xmc-wrong-argument 0.3"):
        assert distribution in problems


def test_asking_for_a_broken_plugin_says_why_and_disabling_it_hides_it(run):
    asked = run("xmc", "plugins", "show", "broken.anything")
    assert asked.returncode == 2
    assert "plugin 'broken' (xmc-broken-import 0.1) failed to load: ModuleNotFoundError" in asked.stderr
    disabled = run("xmc", "plugins", "--failed", XMC_DISABLED_PLUGINS="broken, misspelled,wrong-argument")
    assert disabled.returncode == 0, disabled.stdout + disabled.stderr


def test_the_third_party_loss_keeps_the_contract(run):
    done = run(
        "python", "-c", "from xmc.testing import check_loss; from xmc_loss_foo.hinge import *; check_loss(Hinge())"
    )
    assert done.returncode == 0, done.stderr
