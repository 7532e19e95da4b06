"""Invariants: one file is a plugin; a run made with it says so when it is missing, and never runs it by itself."""

import json
import os
import sys

import pytest

FILE = """
from dataclasses import dataclass

import torch

from xmc.api import LossInputs, LossSpec, hookimpl


@dataclass(frozen=True)
class Margin:
    margin: float = 0.2

    def __call__(self, inputs: LossInputs) -> torch.Tensor:
        positives_P, negatives_Q = inputs.log_sum_exp("negatives", temperature=0.1)
        gaps_P = negatives_Q[inputs.positive_rows_P] - positives_P + self.margin
        return inputs.sum_over_positives(torch.nn.functional.softplus(gaps_P), mean=True)


@hookimpl
def xmc_losses():
    return [LossSpec("margin", "my_margin:Margin", summary="a soft margin")]
"""
SMALL = ("train.epochs=1", "encoder.dimension=8", "train.device=cpu", "loss.name=my_margin.margin", "loss.margin=0.3")


@pytest.fixture
def plugin_file(tmp_path):
    path = tmp_path / "my_margin.py"
    path.write_text(FILE)
    yield path
    sys.modules.pop("my_margin", None)


def test_a_file_trains_and_its_run_is_opened_with_it_only(xmc_command, plugin_file, tmp_path):
    run = tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    code, _, err = xmc_command("train", "--data", "tiny", "--out", run, "--plugin-file", plugin_file, *settings)
    assert code == 0, err
    came_from = json.loads((run / "plugins.json").read_text())
    assert came_from["loss"]["distribution"] == str(plugin_file)
    assert came_from["loss"]["version"].startswith("sha256:")
    assert came_from["encoder"]["distribution"] == "xmc-engine"

    assert "XMC_PLUGIN_FILE" not in os.environ
    sys.modules.pop("my_margin")
    code, _, err = xmc_command("evaluate", "--run", run)
    assert code == 2 and "unknown loss 'my_margin.margin'" in err and f"came from the file {plugin_file}" in err
    assert "--plugin-file" in err and "my_margin" not in sys.modules
    assert xmc_command("search", "fog", "--run", run)[0] == 0, "a search needs no loss"
    assert xmc_command("evaluate", "--run", run, "--plugin-file", plugin_file)[0] == 0


def test_it_is_listed(xmc_command, plugin_file):
    code, out, _ = xmc_command("plugins", "--plugin-file", plugin_file, "--json")
    listing = json.loads(out)
    assert code == 0 and "my_margin.margin" in [offer["name"] for offer in listing["offers"]]
    assert f"the file {plugin_file}" in [each["distribution"] for each in listing["plugins"]]
    assert str(plugin_file) not in xmc_command("plugins", "--plugin-file", plugin_file, "--requirements")[1]


def test_a_missing_package_is_named(xmc_command, tiny_run_copy):
    path = tiny_run_copy / "plugins.json"
    facts = json.loads(path.read_text())
    facts["encoder"] = {"name": "enc.hashed", "plugin": "enc", "distribution": "xmc-enc", "version": "1.2"}
    path.write_text(json.dumps(facts))
    config = tiny_run_copy / "config.toml"
    config.write_text(config.read_text().replace('name = "static"', 'name = "enc.hashed"'))
    code, _, err = xmc_command("evaluate", "--run", tiny_run_copy)
    assert code == 2 and "unknown encoder 'enc.hashed'" in err
    assert "encoder 'enc.hashed' came from xmc-enc 1.2: pip install 'xmc-enc==1.2'" in err
