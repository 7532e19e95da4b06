"""Invariants: the wheel holds the package folders, all of them and nothing else, and every plugin has its door."""

import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"xmc": ROOT / "xmc"} | {
    folder.name: folder for source in ("plugins", "indexes") for folder in (ROOT / source).iterdir() if folder.is_dir()
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(engine_wheel):
    return zipfile.ZipFile(engine_wheel).namelist()


def test_top_level_names_are_the_packages_and_the_metadata(names):
    top = {name.split("/")[0] for name in names}
    assert top == {*PACKAGES, "xmc_engine-0.1.0.dist-info"}
    assert set(PACKAGES) >= {"xmc", "xmc_dexml", "xmc_baselines", "xmc_index_exact", "xmc_index_faiss"}


def test_every_file_of_the_packages_is_in_and_no_other(names):
    on_disk = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == on_disk


def test_type_markers_recipes_licence_and_data_sets_are_shipped(names):
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert "xmc_dexml/recipe.toml" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    data = [name for name in names if name.startswith("xmc/datasets/") and not name.endswith(".py")]
    assert any("icd10cm" in name for name in data) and any("tiny" in name for name in names), data


def test_entry_points_are_the_folders_of_plugins_and_indexes(engine_wheel):
    with zipfile.ZipFile(engine_wheel) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/entry_points.txt")]
        parser = ConfigParser()
        parser.read_string(wheel.read(name).decode())
    assert set(parser["xmc"].values()) == (set(PACKAGES) - {"xmc"}) | {"xmc.builtin"}
    assert parser["console_scripts"]["xmc"] == "xmc.cli.main:main"


def test_each_plugin_folder_has_its_entry_point_its_place_in_the_wheel_and_its_row_in_the_readme():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    entry_points = project["project"]["entry-points"]["xmc"].values()
    packages = {Path(path).name for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    for package, folder in PACKAGES.items():
        assert package in packages
        if package != "xmc":
            assert package in entry_points
            assert f"`{package}`" in (folder.parent / "README.md").read_text(), f"{package} has no row in the README"
