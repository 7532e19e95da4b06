"""Invariants: no key is ignored; a later layer wins; what is written reads back as it was; messages say all."""

import math
import tomllib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.config import build_options, merge, parse_assignments, read_toml, write_toml
from xmc.errors import ConfigError


@dataclass(frozen=True)
class Options:
    k: int = 5
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    share: float | Literal["auto"] = "auto"
    ks: tuple[int, ...] = (1, 3)
    more: dict[str, Any] = field(default_factory=dict)
    made: int = field(init=False, default=0)

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"k must be >= 1, got {self.k}")


@dataclass(frozen=True)
class Needs:
    path: str


def test_values_are_checked_and_converted():
    options = build_options(Options, {"k": 3, "rate": 1, "ks": [5]}, section="loss")
    assert options == Options(k=3, rate=1.0, ks=(5,)) and isinstance(options.rate, float)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (
            Options,
            {"rte": 1},
            "my.toml: [loss] has no key 'rte' (it has: k, rate, kind, share, ks, more). Did you mean 'rate'?",
        ),
        (Options, {"zzz": 1}, "my.toml: [loss] has no key 'zzz' (it has: k, rate, kind, share, ks, more)."),
        (Options, {"made": 1}, "my.toml: [loss] has no key 'made' (it has: k, rate, kind, share, ks, more)."),
        (
            Options,
            {"k": "x"},
            "my.toml: [loss] k: Input should be a valid integer, unable to parse string as an integer, got 'x'.",
        ),
        (Options, {"kind": "c"}, "my.toml: [loss] kind: Input should be 'a' or 'b', got 'c'."),
        (Options, {"share": "all"}, "my.toml: [loss] share: Input should be 'auto' or a valid number, unable to parse"),
        (Options, {"ks": [1, "x"]}, "my.toml: [loss] ks.1: Input should be a valid integer, unable to parse string"),
        (
            Options,
            {"ks": 5},
            "my.toml: [loss] ks: Input should be a list, got 5. A list stands in brackets, also of one: ks = [5]",
        ),
        (Options, {"more": 5}, "my.toml: [loss] more: Input should be a table, got 5. Example: more = {name = 1}"),
        (Options, {"k": 0}, "my.toml: [loss]: k must be >= 1, got 0."),
        (Needs, {}, "my.toml: [loss] path: Field required."),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(cls, values, message):
    with pytest.raises(ConfigError) as raised:
        build_options(cls, values, section="loss", source="my.toml")
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.epochs=3", 3),
        ("train.rate = 0.5 ", 0.5),
        ("encoder.shared=false", False),
        ("encoder.name=static", "static"),
        ('encoder.name="a b"', "a b"),
        ("encoder.model=/a/b=c", "/a/b=c"),
        ("evaluate.ks=[1, 5]", [1, 5]),
        ("encoder.model=", ""),
        ("loss.temperature=1e-2", 0.01),
    ],
)
def test_an_assignment_is_read_as_toml_or_as_a_bare_word(assignment, expected):
    ((_, section),) = parse_assignments([assignment]).items()
    ((_, value),) = section.items()
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("assignment", ["train.epochs", "epochs=3", "=3", ".x=3", "train.=3", ""])
def test_an_assignment_of_another_form_is_refused(assignment):
    with pytest.raises(ConfigError, match=r"is not section\.key=value\. Example: --set train\.epochs=3"):
        parse_assignments([assignment])


@pytest.mark.parametrize("settings", [{"epochs": 3}, {"train.": 3}, {".epochs": 3}, {"": 3}])
def test_a_setting_of_another_form_is_refused(settings):
    with pytest.raises(ConfigError, match=r"is not section\.key\. Example: \{\"train\.epochs\": 3\}"):
        parse_assignments(settings)


def test_settings_may_be_values_by_name_but_not_one_string():
    tree = parse_assignments({"train.epochs": 3, "check.exactness.k": 5, "train": {"seed": 1}, "encoder.model": "3"})
    assert tree == {"train": {"epochs": 3, "seed": 1}, "check": {"exactness.k": 5}, "encoder": {"model": "3"}}
    with pytest.raises(ConfigError, match=r"Give a list: \['train\.epochs=3'\]"):
        parse_assignments("train.epochs=3")


@pytest.mark.parametrize("settings", [None, 5, [("train.epochs", 3)], [{"train.epochs": 3}], {5: 1}])
def test_settings_of_another_type_are_refused(settings):
    with pytest.raises(ConfigError, match=r"section\.key"):
        parse_assignments(settings)


def test_the_last_assignment_of_a_key_wins_and_the_others_stay():
    tree = parse_assignments(["train.epochs=3", "train.seed=1", "train.epochs=4"])
    assert tree == {"train": {"epochs": 4, "seed": 1}}


trees = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.dictionaries(st.sampled_from(["k", "m"]), st.integers(), max_size=2)
)


@given(trees, trees, trees)
def test_merging_is_later_wins_key_by_key_and_does_not_depend_on_grouping(a, b, c):
    merged = merge(a, b)
    for section in {*a, *b}:
        assert merged[section] == {**a.get(section, {}), **b.get(section, {})}
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


def test_merging_changes_neither_side():
    a, b = {"s": {"k": 1}}, {"s": {"m": 2}}
    assert merge(a, b) == {"s": {"k": 1, "m": 2}}
    assert a == {"s": {"k": 1}} and b == {"s": {"m": 2}}


def test_another_component_drops_the_options_of_the_first_and_the_same_keeps_them():
    base = {"loss": {"name": "a", "k": 1}}
    assert merge(base, {"loss": {"name": "b", "m": 2}}) == {"loss": {"name": "b", "m": 2}}
    assert merge(base, {"loss": {"name": "a", "m": 2}}) == {"loss": {"name": "a", "k": 1, "m": 2}}
    assert merge(base, {"loss": {"m": 2}}) == {"loss": {"name": "a", "k": 1, "m": 2}}


values = st.one_of(st.integers(-(2**60), 2**60), st.booleans(), st.text(st.characters(exclude_categories=["Cs"])))


@given(st.dictionaries(st.text("abc_", min_size=1), st.dictionaries(st.text("abc ", min_size=1), values)))
def test_written_toml_reads_back_as_it_was(tree):
    assert tomllib.loads(write_toml(tree)) == tree


def test_none_is_left_out_of_toml():
    assert tomllib.loads(write_toml({"a": {"b": None, "c": 1}})) == {"a": {"c": 1}}


def test_files_that_cannot_be_read_are_configuration_errors(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no configuration file .*none\.toml"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="there is no configuration file"):
        read_toml(tmp_path)
    for content in (b"epochs = ", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML: "):
            read_toml(tmp_path / "bad.toml")


@pytest.mark.parametrize("values", [{"k": True}, {"rate": False}, {"ks": [1, True]}, {"k": np.True_}])
def test_true_and_false_are_no_numbers(values):
    with pytest.raises(ConfigError, match=r"\[loss\] \w+: Input should be a number, got "):
        build_options(Options, values, section="loss")


def test_a_text_without_quotes_is_told_of_them():
    with pytest.raises(
        ConfigError, match=r"valid string, got 2024\. A text stands in quotes: path = \"2024\""
    ) as raised:
        build_options(Needs, {"path": 2024}, section="data")
    assert parse_assignments([f"data.{raised.value.hint.partition(': ')[2]}"]) == {"data": {"path": "2024"}}


def test_a_text_that_is_not_utf_8_is_refused():
    with pytest.raises(ConfigError, match=r"\[data\] path: Input should be UTF-8, got 'd\\udcff'"):
        build_options(Needs, {"path": "d\udcff"}, section="data")


def test_an_assignment_of_several_lines_loses_none():
    assert parse_assignments(["train.epochs=3\nseed = 7"]) == {"train": {"epochs": "3\nseed = 7"}}


def test_a_mark_at_the_start_of_a_file_is_left_out(tmp_path):
    (tmp_path / "my.toml").write_text("[train]\nepochs = 3\n", encoding="utf-8-sig")
    assert read_toml(tmp_path / "my.toml") == {"train": {"epochs": 3}}


@dataclass(frozen=True)
class Loose:
    bound: float = math.inf
    scale: float = 1.0
    scales: tuple[float, ...] = ()
    others: dict[str, Any] = field(default_factory=dict)
    size: int = 1


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "infinity", "1e400", "[1.0, nan]", "{ a = [{ b = inf }] }"])
def test_numbers_are_finite(text):
    values = parse_assignments([f"loss.x={text}"])["loss"]["x"]
    key = {list: "scales", dict: "others"}.get(type(values), "scale")
    with pytest.raises(ConfigError, match=rf"\[loss\] {key}: Input should be a finite number, got (-?inf|nan)\.$"):
        build_options(Loose, {key: values}, section="loss")


def test_a_number_that_float32_does_not_hold_is_refused():
    with pytest.raises(
        ConfigError, match=r"\[loss\] rate: Input should be a number of at most 3\.4.*e\+38, .*got 1e\+300"
    ):
        build_options(Options, {"rate": 1e300}, section="loss")
    assert build_options(Options, {"rate": 3e38}, section="loss").rate == 3e38


def test_a_number_whose_default_is_not_finite_may_be_so():
    assert build_options(Loose, {"bound": -math.inf}, section="loss").bound == -math.inf


@pytest.mark.parametrize(
    ("key", "zeros"), [("size", 19), ("size", 400), ("size", 5000), ("others", 19), ("scale", 400), ("scale", 5000)]
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_whole_numbers_have_64_bits(key, zeros, sign, tmp_path):
    text = f"{sign}1{zeros * '0'}"
    text = f"{{ a = [{text}] }}" if key == "others" else text
    (tmp_path / "my.toml").write_text(f"[loss]\n{key} = {text}\n")
    with pytest.raises(ConfigError):
        build_options(Loose, read_toml(tmp_path / "my.toml")["loss"], section="loss")
    with pytest.raises(ConfigError):
        build_options(Loose, parse_assignments([f"loss.{key}={text}"])["loss"], section="loss")
    assert build_options(Loose, {"size": 2**63 - 1}, section="loss").size == 2**63 - 1
