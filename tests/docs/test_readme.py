"""Invariants: the tables of figures, the README's list of verbs and its loss are those of the code."""

import csv
import re
import sys

import pytest
from doc_pages import PAGES, ROOT, blocks

from xmc.cli.main import VERBS

sys.path.insert(0, str(ROOT / "benchmarks"))
import readme_table
from readme_table import END, START, Pick, filled, first_look, table

README = PAGES["README.md"].read_text(encoding="utf-8")


def test_the_first_lines_say_what_it_does_and_how_to_start():
    title, _, sentence = README.splitlines()[:3]
    assert title == "# xmc" and sentence.startswith("xmc trains a text encoder")
    first = blocks("README.md")[0].text.split()
    assert first[:2] == ["make", "quickstart"] and "test" in first


def test_tables_of_figures_are_those_made_from_the_results():
    assert filled(README, first_look()) == README, "run: make docs"
    page = PAGES["docs/figures.md"].read_text(encoding="utf-8")
    assert filled(page, table()) == page, "run: make docs"


def test_a_line_of_the_table_is_known_by_its_first_column():
    assert len({pick.what for pick in readme_table.PICKS}) == len(readme_table.PICKS)


def test_every_verb_is_listed_with_the_first_line_of_its_help():
    rows = dict(re.findall(r"^\| `xmc ([a-z]+)` \| (.+) \|$", README, flags=re.MULTILINE))
    assert rows == {name: command.__doc__.strip().partition("\n")[0] for name, command in VERBS.items()}


def test_the_loss_is_the_one_that_is_tested_and_has_under_40_lines():
    folder = ROOT / "tests" / "fixtures" / "xmc-loss-foo" / "xmc_loss_foo"
    (shown,) = [block for block in blocks("README.md") if block.file == "hinge.py"]
    assert shown.text == (folder / "hinge.py").read_text(encoding="utf-8")
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py")}
    assert sum(lengths.values()) < 40
    assert lengths["__init__.py"] == 8  # the README says so


@pytest.fixture
def results(tmp_path):
    columns = ["subject", "x", "median", "p20", "p80", "low95", "high95", "unit", "threads", "machine", "torch"]
    rows = [
        ["mine", "P@1", "49.25", "", "", "47.3", "51.14", "%", "2", "M", "2.13"],
        ["theirs", "P@1", "24.3", "", "", "", "", "%", "", "M", "2.13"],
        ["xmc fast", "8", "89.469", "75.998", "1230", "", "", "ms per batch", "2", "M", "2.13"],
    ]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*columns, "faiss", "date"], *([*row, "1.15", "2026-11-23"] for row in rows)])
    return tmp_path


def test_figures_are_written_with_their_spread(results):
    picks = [
        Pick("a", "P@1", "quality", ("mine",), ("theirs", "absent")),
        Pick("a", "8", "speed", ("xmc fast",)),
        Pick("missing", "8", "no such file yet", ("mine",)),
    ]
    lines = table(picks, results).splitlines()
    assert lines[2] == "| quality | 49.2 [47.3, 51.1] | theirs 24.3 | `python benchmarks/bench_a.py` |"
    assert lines[3] == "| speed | 89.5 ms (76.0–1,230) | – | `python benchmarks/bench_a.py` |"
    assert lines[-1] == "- `a.csv`: M, 2 threads, torch 2.13, faiss 1.15, 2026-11-23."
    assert "no such file yet" not in "\n".join(lines)


def test_a_subject_that_is_not_measured_is_an_error(results):
    with pytest.raises(ValueError, match=r"results/a\.csv has no row of 'nobody' with x = 'P@1'"):
        table([Pick("a", "P@1", "quality", ("nobody",))], results)


def test_only_what_is_between_the_marks_is_replaced():
    assert filled(f"a\n{START}\nold\n{END}\nb\n", "new") == f"a\n{START}\nnew\n{END}\nb\n"
    for text in ("no marks", f"{END} {START}", f"{START} {START} {END}", f"{START} {END} {END}"):
        with pytest.raises(ValueError, match="once each"):
            filled(text, "new")


def test_every_row_names_a_script_that_exists():
    for pick in readme_table.PICKS:
        script = readme_table.SCRIPTS.get(pick.file, f"bench_{pick.file}.py").split()[0]
        assert (ROOT / "benchmarks" / script).is_file(), pick
