"""Invariants: every error is an XmcError with message and hint; an interrupted run has the exit code of shells."""

import pytest

from xmc import errors
from xmc.errors import ConfigError, InterruptedRunError, XmcError, did_you_mean

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


def test_message_and_hint_are_apart_and_together():
    error = ConfigError("k is 0.", hint="Use 1.")
    assert (error.message, error.hint, str(error)) == ("k is 0.", "Use 1.", "k is 0. Use 1.")
    assert str(ConfigError("k is 0.")) == "k is 0."


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if not issubclass(cls, Warning)])
def test_every_error_is_one_that_the_command_line_prints(cls):
    assert issubclass(cls, XmcError) and cls.__doc__


def test_an_interrupted_run_has_the_exit_code_of_its_signal():
    assert InterruptedRunError("stopped.", signal_number=15).exit_code == 143


@pytest.mark.parametrize(
    ("name", "expected"),
    [("epoch", "Did you mean 'epochs'?"), ("zzz", ""), ("", ""), ("epochs", "Did you mean 'epochs'?")],
)
def test_did_you_mean_names_the_nearest_or_nothing(name, expected):
    assert did_you_mean(name, ["epochs", "batch_size"]) == expected
    assert did_you_mean(name, []) == ""
