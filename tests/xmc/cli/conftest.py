"""The command line called as a user calls it, but without a new process."""

import sys

import pytest

from xmc.cli.main import main


@pytest.fixture
def xmc_command(monkeypatch, capsys):
    """Call `xmc ARGUMENTS`; returns (exit code, standard output, error stream)."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["xmc", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
