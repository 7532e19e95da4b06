"""Invariants: a set holds single lower-case words only; an empty or unreadable one is an error that says so."""

import gzip
import json

import pytest

from xmc.errors import DataError
from xmc.substitutions.word_sets import BUILT_IN, Substitutions, read_substitutions, replaced


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_sets_that_ship_are_whole(name):
    some = read_substitutions(name)
    assert len(some.of_word) > 25_000 and some.left_out == 0
    assert all(word not in others and len(set(others)) == len(others) for word, others in some.of_word.items())


def test_wordnet_is_symmetric():
    of_word = read_substitutions("wordnet").of_word
    assert all(word in of_word[other] for word, others in of_word.items() for other in others)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_lines_of_both_kinds(tmp_path, suffix):
    path = tmp_path / f"set{suffix}"
    body = b"# a comment\nBig: huge two-part huge big\nsea ocean\n\n"
    path.write_bytes(gzip.compress(body) if suffix.endswith("gz") else body)
    some = read_substitutions(path)
    assert dict(some.of_word) == {"big": ("huge",), "sea": ("ocean",), "ocean": ("sea",)}
    assert some.left_out == 1 and some.source == str(path)


def test_json(tmp_path):
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"car": ["auto", "motor car"]}))
    assert dict(read_substitutions(path).of_word) == {"car": ("auto",)}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "allow nothing"),
        (b"alone\n", "allow nothing"),
        (b"{", "no JSON"),
        (b'{"a": "b"}', "list of words"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, body, message):
    path = tmp_path / "set.txt"
    path.write_bytes(body)
    with pytest.raises(DataError, match=message):
        read_substitutions(path)


def test_damaged_gzip_and_unknown_names(tmp_path):
    path = tmp_path / "set.txt.gz"
    path.write_bytes(gzip.compress(b"sea ocean\n" * 1000)[:20])
    with pytest.raises(DataError, match="cannot be read"):
        read_substitutions(path)
    with pytest.raises(DataError, match="Did you mean 'wordnet'"):
        read_substitutions("wordnt")


def test_sites_are_whole_words_as_they_stand():
    sites = read_substitutions("wordnet").sites("Car, my_car and CAR-park: car's")
    assert [(site.start, site.stop, site.word) for site in sites if site.word == "car"] == [
        (0, 3, "car"),
        (16, 19, "car"),
        (26, 29, "car"),
    ]
    text = "Car, my_car and CAR-park: car's"
    assert replaced(text, [(site, "auto") for site in sites if site.word == "car"]) == (
        "auto, my_car and auto-park: auto's"
    )


@pytest.mark.parametrize("text", ["cafe\u0301", "a\u0301cafe", "cafe\u0301 society", "cafe\u0301noir cafe\u20dd"])
def test_a_word_with_a_combining_mark_is_another_word(text):
    some = Substitutions({"cafe": ("bar",)})
    assert some.sites(text) == []
    assert [site.start for site in some.sites(f"{text} cafe")] == [len(text) + 1]


def test_a_mark_at_the_start_is_no_part_of_the_first_word(tmp_path):
    path = tmp_path / "set.txt"
    for body in ("big: large\nsea: ocean\n", '{"big": ["large"], "sea": ["ocean"]}'):
        path.write_text(body, encoding="utf-8-sig")
        some = read_substitutions(path)
        assert dict(some.of_word) == {"big": ("large",), "sea": ("ocean",)} and some.left_out == 0


def test_gzip_that_is_damaged_in_the_middle(tmp_path):
    path = tmp_path / "set.txt.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 400)[:40] + b"\xff" * 50)
    with pytest.raises(DataError, match="cannot be read as substitutions"):
        read_substitutions(path)
