"""Every example in a docstring runs, module by module, and every module can be imported."""

import doctest
import importlib
import pkgutil
import tomllib
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def packages():
    """The import packages that the wheel holds."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    return [Path(folder).name for folder in build["targets"]["wheel"]["packages"]]


def modules():
    """Every module of every package."""
    for name in packages():
        package = importlib.import_module(name)
        yield name
        yield from (found.name for found in pkgutil.walk_packages(package.__path__, prefix=f"{name}."))


def with_examples(name):
    """The docstrings with examples of a module; to run the others, too, takes many times as long as these."""
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize("name", list(modules()))
def test_the_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example that writes, writes there
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        for documented in with_examples(name):
            runner.run(documented)
    result = runner.summarize()
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {name} fail (see the output above)"


def test_there_are_examples():
    assert sum(len(test.examples) for name in modules() for test in with_examples(name)) > 100
