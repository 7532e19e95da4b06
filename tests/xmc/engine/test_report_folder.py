"""Invariant: a report is never written over that of another command, nor into a run."""

import pytest

import xmc
from xmc.engine.report_folder import require_report_folder
from xmc.errors import ConfigError


@pytest.mark.parametrize("text", ['{"behaviour": {}}', '{"behaviour": {}, "more": 1}'])
def test_the_report_of_an_earlier_call_may_be_replaced(tmp_path, text):
    require_report_folder(tmp_path / "new", key="behaviour")
    (tmp_path / "notes.txt").touch()
    require_report_folder(tmp_path, key="behaviour")
    (tmp_path / "report.json").write_text(text)
    require_report_folder(tmp_path, key="behaviour")


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", "by hand", '{"predicted": {}}'])
def test_another_report_is_refused(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ConfigError, match=r"report\.json is there and was not written by this command"):
        require_report_folder(tmp_path, key="behaviour")


def test_a_run_and_a_file_are_refused_before_anything_is_read(tiny_run, tmp_path):
    with pytest.raises(ConfigError, match=r"holds a config\.toml, as a run does"):
        xmc.choose_run("absent.parquet", {"a": tiny_run}, out=tiny_run)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, expected a folder"):
        xmc.scale_run("absent", tmp_path / "file")
