"""Invariants: no verb drops a word in silence: an option with one value given twice and words left over are refused."""

import pytest
import typer

from xmc.cli.main import VERBS, app

GIVEN_ONCE = [
    (verb, parameter.opts[0])
    for verb in VERBS
    for parameter in typer.main.get_command(app).commands[verb].params
    if parameter.param_type_name == "option" and not parameter.is_flag and not parameter.multiple
]


@pytest.mark.parametrize(("verb", "option"), GIVEN_ONCE)
def test_an_option_given_twice_is_refused(xmc_command, verb, option):
    code, out, err = xmc_command(verb, option, "1", option, "2")
    assert (code, out) == (2, "") and f"error: {option} is given more than once." in err


def test_a_pattern_that_the_shell_expanded(xmc_command, tmp_path):
    for name in "abcde":
        (tmp_path / name).write_text("")
    files = sorted(tmp_path.iterdir())
    code, _, err = xmc_command("predict", "--run", "r", "--shards", *files, "--out", "o")
    assert code == 2 and "c', '" in err and "and 1 more" in err and "put it in quotes" in err
    code, _, err = xmc_command("search", "--run", "r", "--queries", *files, "--out", "o")
    assert code == 2 and "put it in quotes" in err
    code, _, err = xmc_command("search", "--run", "r", "--queries", *files[:2], "--out", "o")
    assert code == 2 and "give either a text or --queries" in err and "in quotes" in err
    code, _, err = xmc_command("predict", "--run", "r", "nonsense", "--shards", "a", "--out", "o")
    assert code == 2 and "unexpected words: 'nonsense'" in err and "--help" in err


def test_words_left_over_are_named_with_what_to_do(xmc_command, tmp_path):
    code, _, err = xmc_command("search", "pain", "in", "the", "knee", "--run", "r")
    assert code == 2 and "unexpected words: 'in', 'the', 'knee'." in err and "several words in quotes" in err
    code, _, err = xmc_command("evaluate", tmp_path)
    assert code == 2 and f"unexpected words: '{tmp_path}'." in err and f"xmc evaluate --run {tmp_path}" in err
    code, _, err = xmc_command("labels", "list", "a.jsonl", "b.jsonl", "--run", "r")
    assert code == 2 and "unexpected words: 'b.jsonl'." in err and "--help" in err


def test_flags_and_lists_may_be_repeated_and_help_comes_first(xmc_command):
    code, _, err = xmc_command("doctor", "--json", "--json")
    assert code in (0, 1) and not err
    assert xmc_command("train", "words", "--help")[0] == 0
    code, _, err = xmc_command("search", "--allow", "a", "--allow", "b", "--run", "r")
    assert code == 2 and "more than once" not in err
