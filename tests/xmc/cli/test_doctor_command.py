"""Invariants: a sound environment has no problem and code 0; each known clash is found, named and given a way out."""

import json
from importlib import metadata

import pytest
from typer.testing import CliRunner

from xmc.cli.doctor import diagnose, faiss_findings, placeholder_problems, quota_notes
from xmc.cli.main import app


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put the metadata of a distribution on the path, with the files it says it owns."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, version, *, owns="", entry_points=""):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "top_level.txt").write_text(owns)
        (folder / "entry_points.txt").write_text(entry_points)

    return write


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "200"})


def test_a_sound_environment_has_no_problem():
    result = run("--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["problems"]) == (0, [])
    assert report["facts"]["torch"] == metadata.version("torch")
    assert report["facts"]["faiss build"] in ("CPU", "GPU") and report["facts"]["torch threads"] >= 1
    assert "problems: none" in run().output


def test_two_faiss_distributions_are_a_problem(install):
    install("faiss-gpu", "1.15.1", owns="faiss\n")
    install("faiss-cpu", "1.15.1", owns="faiss\n")
    result = run()
    assert result.exit_code == 1
    assert "several distributions install faiss over each other: faiss-cpu 1.15.1, faiss-gpu 1.15.1" in result.output


def test_no_faiss_is_a_note_that_says_what_still_works():
    facts, notes, problems = faiss_findings([])
    assert facts == {"faiss": None} and problems == []
    assert "exact search works" in notes[0] and "xmc-engine[cpu]" in notes[0]


def test_a_faiss_that_cannot_be_imported_is_a_problem(install, tmp_path, monkeypatch):
    (tmp_path / "faiss.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.delitem(__import__("sys").modules, "faiss", raising=False)
    _, _, problems = faiss_findings(["faiss-cpu"])
    assert "cannot be imported: ImportError: libcudart.so.12" in problems[0]


def test_the_placeholder_distribution_is_a_problem(install, tmp_path):
    assert placeholder_problems(tmp_path) == []
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "example.py").touch()
    assert "pip uninstall xmc" in placeholder_problems(tmp_path)[0]
    install("xmc", "0.0.1", owns="xmc\n")
    assert any("unrelated distribution 'xmc'" in problem for problem in diagnose()["problems"])


def test_a_failed_plugin_is_a_problem(install):
    install("xmc-sick", "0.4", entry_points="[xmc]\nsick = a_module_that_nobody_installed\n")
    (problem,) = diagnose()["problems"]
    assert problem.startswith("plugin 'sick' (xmc-sick 0.4) failed to load: ModuleNotFoundError")
    assert "XMC_DISABLED_PLUGINS" in problem


def test_a_quota_below_the_cores_is_noted():
    (note,) = quota_notes(2, 64)
    assert "2 of 64 processors" in note and "OMP_NUM_THREADS=2" in note
    assert quota_notes(64, 64) == []
