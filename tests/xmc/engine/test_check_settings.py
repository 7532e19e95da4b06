"""Invariants: nothing in [check] is ignored; nested and dotted names are the same; a limit knows which side is better;
only what was set is written into a run's configuration."""

import pytest

from xmc.config import write_toml
from xmc.engine.check_settings import Limit, check_settings
from xmc.engine.run_config import FILE_NAME, read_run_config, resolve
from xmc.errors import ConfigError, PluginError
from xmc.plugin_manager import load_plugins


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


TOML = """
[check.calibrate]
method = "platt"
top = 20
[check.limits]
calibrate.ece_at_5 = 0.02
conformal.coverage = 1
"""


def test_a_file_and_settings_say_the_same(plugins, tmp_path):
    (tmp_path / "my.toml").write_text(TOML)
    from_file = resolve(plugins, config_file=tmp_path / "my.toml").check
    settings = [
        "check.calibrate.method=platt",
        "check.calibrate.top=20",
        "check.limits.calibrate.ece_at_5=0.02",
        "check.limits.conformal.coverage=1",
    ]
    assert from_file == resolve(plugins, settings=settings).check
    calibrate = from_file.check(plugins.find("check", "calibrate"))
    assert calibrate.method == "platt" and calibrate.top == 20 and calibrate.bins == 15
    assert from_file.limits == (
        Limit("calibrate", "ece_at_5", 0.02, "lower"),
        Limit("conformal", "coverage", 1.0, "higher"),
    )


def test_settings_win_over_the_file(plugins, tmp_path):
    (tmp_path / "my.toml").write_text(TOML)
    settings = ["check.limits.calibrate.ece_at_5=0.5", "check.calibrate.method=isotonic"]
    found = resolve(plugins, config_file=tmp_path / "my.toml", settings=settings).check
    assert found.limits[0].bound == 0.5 and found.checks["calibrate"].method == "isotonic"
    assert found.checks["calibrate"].top == 20


def test_what_was_set_is_written_and_read_back_and_nothing_else(plugins, tmp_path):
    config = resolve(plugins, settings=["check.limits.calibrate.ece_at_1=0.1", "check.conformal.also=[0.5]"])
    config.write(tmp_path)
    assert read_run_config(plugins, tmp_path).check == config.check
    assert config.check.to_dict() == {"conformal": {"also": [0.5]}, "limits": {"calibrate.ece_at_1": 0.1}}
    assert "check" not in resolve(plugins).to_dict()
    again = read_run_config(plugins, tmp_path, settings=["check.limits.calibrate.ece_at_1=0.3"])
    assert [limit.bound for limit in again.check.limits] == [0.3]


def test_a_limit_sees_the_options_that_name_its_figure(plugins):
    settings = ["check.limits.calibrate.ece_at_7=0.1"]
    with pytest.raises(ConfigError, match=r"no figure 'ece_at_7' to limit .* Did you mean 'ece_at_"):
        resolve(plugins, settings=settings)
    assert resolve(plugins, settings=[*settings, "check.calibrate.ks=[7]"]).check.limits[0].figure == "ece_at_7"


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"calibrat": {"top": 3}}, PluginError, "unknown check 'calibrat'. Did you mean 'calibrate'?"),
        ({"limits": {"calibrat.ece_at_5": 3}}, PluginError, "unknown check 'calibrat'. Did you mean"),
        ({"calibrate": {"tops": 3}}, ConfigError, "a.toml: [check.calibrate] has no key 'tops' (it has: method, top"),
        ({"calibrate": {"method": "x"}}, ConfigError, "a.toml: [check.calibrate] method: Input should be 'isotonic'"),
        ({"calibrate": {"top": 0}}, ConfigError, "check.calibrate.top must be 1 to 10,000, got 0."),
        ({"top": 3}, ConfigError, "a.toml: [check] has sections for checks and for limits, got the key 'top'."),
        ({"limits": {"ece_at_5": 1}}, ConfigError, "a.toml: the limit 'ece_at_5' names no check."),
        ({"limits": {"calibrate.ece_at_5": "x"}}, ConfigError, "the limit calibrate.ece_at_5 must be a finite number"),
        ({"limits": {"calibrate.ece_at_5": True}}, ConfigError, "must be a finite number, got True."),
        ({"limits": {"calibrate.ece_at_5": float("nan")}}, ConfigError, "must be a finite number, got nan."),
        ({"limits": {"calibrate.ece_before_at_5": 1}}, ConfigError, "has no figure 'ece_before_at_5' to limit"),
    ],
)
def test_what_is_wrong_is_said_and_what_is_allowed(plugins, tree, error, message):
    with pytest.raises(error) as raised:
        check_settings(plugins, tree, source="a.toml")
    assert message in str(raised.value)


def test_a_check_that_cannot_be_imported_is_said(tmp_path):
    plugin = tmp_path / "lame_check.py"
    plugin.write_text(
        "from xmc.api import CheckSpec, hookimpl\n"
        "@hookimpl\n"
        "def xmc_checks(): return [CheckSpec('leg', 'a_module_that_nobody_installed:Leg')]\n"
    )
    with pytest.raises(PluginError, match=r"check 'lame_check\.leg' cannot be imported from a_module.*Install"):
        resolve(load_plugins(plugin_file=plugin), settings=["check.leg.length=3"])


@pytest.mark.parametrize(("better", "passing"), [("lower", [0.1, 0.2]), ("higher", [0.2, 0.3])])
def test_the_bound_itself_passes(better, passing):
    limit = Limit("a", "b", 0.2, better)
    assert [value for value in (0.1, 0.2, 0.3) if limit.passes(value)] == passing


def test_the_section_goes_through_toml(plugins, tmp_path):
    tree = resolve(plugins, settings=["check.exactness.sample=7", "check.limits.exactness.wrong_proofs=0"]).to_dict()
    (tmp_path / FILE_NAME).write_text(write_toml({"check": tree["check"]}))
    assert resolve(plugins, config_file=tmp_path / FILE_NAME).check.to_dict() == tree["check"]
