"""What is said of a run is what its reports say; where nothing was measured no number stands."""

import json

import pytest

from xmc.engine.describe import describe_run
from xmc.engine.run_config import resolve
from xmc.plugin_manager import load_plugins


@pytest.mark.parametrize(("measured", "said"), [(0.25, 0.25), (0.0, 0.0), (-1.0, "none")])
def test_a_run_without_validation_has_no_best_figure(tmp_path, measured, said):
    plugins = load_plugins()
    resolve(plugins, plugin="dexml").write(tmp_path)
    report = {"label_scope": "all", "device_used": "cpu", "epochs_run": 1, "train_s": 0.5, "versions": {}}
    (tmp_path / "train.json").write_text(json.dumps({**report, "best_validation_p1": measured}))
    assert describe_run(tmp_path)["train best_validation_p1"] == said
