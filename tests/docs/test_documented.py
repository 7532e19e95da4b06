"""Invariants: every hook, setting, plugin, index, verb and option is in the documentation, and nothing else is."""

import dataclasses
import inspect
import re
import sys
import tomllib

import pytest
from doc_pages import PAGES, ROOT
from typer.testing import CliRunner

from xmc import hookspecs
from xmc.cli.main import VERBS, app
from xmc.encode.lstm import LstmOptions
from xmc.encode.sentence_transformer import SentenceTransformerOptions
from xmc.encode.static import StaticOptions
from xmc.encode.tfidf import TfidfOptions
from xmc.engine.fusion import FusionOptions
from xmc.engine.label_moves import LabelOptions
from xmc.engine.run_config import DataOptions, TeacherOptions
from xmc.evaluate.options import EvaluateOptions
from xmc.plugin_manager import load_plugins
from xmc.train.options import TrainOptions

sys.path.insert(0, str(ROOT / "docs"))
import make_pages

HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("xmc_")}
SECTIONS = {
    "data": DataOptions,
    "encoder static": StaticOptions,
    "encoder tfidf": TfidfOptions,
    "encoder lstm": LstmOptions,
    "encoder sentence-transformers": SentenceTransformerOptions,
    "teacher": TeacherOptions,
    "train": TrainOptions,
    "labels": LabelOptions,
    "reranker, fusion": FusionOptions,
    "evaluate": EvaluateOptions,
}


def text_of(page):
    return PAGES[page].read_text(encoding="utf-8")


def headings(page, level):
    return re.findall(rf"^{'#' * level} (.+)$", text_of(page), flags=re.MULTILINE)


def test_hooks_are_headings_with_their_exact_arguments():
    wanted = {f"{name}({', '.join(inspect.signature(function).parameters)})" for name, function in HOOKS.items()}
    assert len(wanted) >= 10
    assert set(headings("docs/plugins.md", 3)) == wanted


def test_specs_are_shown_with_their_exact_fields():
    text = " ".join(text_of("docs/plugins.md").split())
    for kind in (
        "Loss",
        "Index",
        "Encoder",
        "Head",
        "Reranker",
        "Augmentation",
        "Optimizer",
        "Metric",
        "Check",
        "Recipe",
    ):
        spec = getattr(__import__("xmc.api", fromlist=["api"]), f"{kind}Spec")
        fields = ", ".join(field.name for field in dataclasses.fields(spec))
        assert f"Returns `{kind}Spec({fields})`" in text, f"{kind}Spec({fields})"


@pytest.mark.parametrize("section", SECTIONS)
def test_settings_are_documented_with_their_defaults(section):
    body = text_of("docs/configuration.md").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", body, flags=re.MULTILINE))
    shown = {name: tomllib.loads(f"value = {default}")["value"] for name, default in rows.items()}
    assert shown == {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in dataclasses.fields(SECTIONS[section])
    }


def test_generated_pages_are_current():
    plugins = load_plugins()
    assert not plugins.failed
    assert text_of("docs/commands.md") == make_pages.commands_page(), "run: make docs"
    assert text_of("docs/components.md") == make_pages.components_page(plugins), "run: make docs"


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_every_option_of_the_page(verb):
    """The page is made from the declarations; this reads what a user sees."""
    section = text_of("docs/commands.md").partition(f"\n## xmc {verb}\n")[2].partition("\n## ")[0]
    options = re.findall(r"^\| `(-[\w-]+)", section, flags=re.MULTILINE)
    assert options
    printed = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}, color=False).output
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.sub(r"\x1b\[[0-9;]*m", "", printed)))
    assert set(options) <= shown
    assert {option for option in shown if option.startswith("--")} - {"--help"} <= set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]*", section)
    )


@pytest.mark.parametrize("folder", ["plugins", "indexes"])
def test_every_package_and_what_it_offers_stands_in_the_table_of_its_folder(folder):
    page = text_of(f"{folder}/README.md")
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    plugin_of = {module: name for name, module in pyproject["project"]["entry-points"]["xmc"].items()}
    plugins = load_plugins()
    for package in sorted(path.name for path in (ROOT / folder).iterdir() if (path / "__init__.py").is_file()):
        assert package in page
        names = [o.full_name for found in plugins.offers.values() for o in found if o.plugin == plugin_of[package]]
        assert names
        assert not [name for name in names if f"`{name}`" not in page], f"{folder}/README.md lacks these of {package}"
        assert f"tests/{folder}/{package}" in page


def test_every_decision_has_a_number_of_its_own_and_a_status():
    paths = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in paths] == [f"{number:04d}" for number in range(1, len(paths) + 1)]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]} — ")
        assert "\nStatus: " in text


def test_every_folder_of_the_core_is_in_the_room_map():
    page = text_of("CONTRIBUTING.md")
    for path in (ROOT / "xmc").iterdir():
        if (path / "__init__.py").is_file():
            assert f"`xmc/{path.name}/`" in page, path.name
    for name in ("plugins", "indexes", "tests", "benchmarks", "docs"):
        assert f"`{name}/`" in page
