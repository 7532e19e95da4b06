"""The command `xmc`: one module a verb; heavy libraries are imported inside the verbs only."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from xmc.cli.answers import answers_apart, escape_what_cannot_be_written
from xmc.cli.check import check_command
from xmc.cli.choose import choose_command
from xmc.cli.config import config_command
from xmc.cli.diagnose import diagnose_command
from xmc.cli.doctor import doctor_command
from xmc.cli.evaluate import evaluate_command
from xmc.cli.export import export_command
from xmc.cli.failures import told
from xmc.cli.import_ import import_command
from xmc.cli.index import index_command
from xmc.cli.info import info_command
from xmc.cli.labels import labels_command
from xmc.cli.leaving import code_for_shell, leave_at_once
from xmc.cli.output import other_warnings_told
from xmc.cli.plugin_file import with_plugin_file
from xmc.cli.plugins import plugins_command
from xmc.cli.predict import predict_command
from xmc.cli.privatise import privatise_command
from xmc.cli.rerank import rerank_command
from xmc.cli.scale import scale_command
from xmc.cli.search import search_command
from xmc.cli.serve import serve_command
from xmc.cli.strict_command import StrictCommand
from xmc.cli.teach import teach_command
from xmc.cli.terminal import outlive_terminal
from xmc.cli.train import train_command
from xmc.errors import InterruptedRunError
from xmc.machine import keep_threads_to_quota
from xmc.train.signals import Stopped, stopped_by_signals

app = typer.Typer(
    name="xmc",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Extreme-classification retrieval: train, index, search, evaluate.",
)
VERBS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "teach": teach_command,
    "index": index_command,
    "labels": labels_command,
    "rerank": rerank_command,
    "search": search_command,
    "predict": predict_command,
    "serve": serve_command,
    "evaluate": evaluate_command,
    "check": check_command,
    "choose": choose_command,
    "scale": scale_command,
    "diagnose": diagnose_command,
    "export": export_command,
    "info": info_command,
    "config": config_command,
    "import": import_command,
    "privatise": privatise_command,
    "plugins": plugins_command,
    "doctor": doctor_command,
}
WITHOUT_PLUGINS = ("import", "privatise")
for name, command in VERBS.items():
    app.command(name, cls=StrictCommand)(command if name in WITHOUT_PLUGINS else with_plugin_file(command))


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(f"xmc-engine {metadata.version('xmc-engine')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Extreme-classification retrieval: train, index, search, evaluate."""
    del debug, version  # `main` reads --debug from the arguments, since it must work when a verb fails
    if context.invoked_subcommand != "predict":  # which knows whether it is its processes that compute
        keep_threads_to_quota()


@functools.cache
def _command() -> Callable[..., None]:
    """The parser of all verbs, made once a process: to read their options takes as long as many a verb."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line: 0 done, 1 ran but a check failed, 2 wrong usage, configuration or data."""
    try:
        _run()
    except (SystemExit, BrokenPipeError) as ended:
        code = code_for_shell(ended)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # A thread of gloo may still let go of a tensor, for which it wants the interpreter: while that is being
            # torn down, this aborts the process, and the launcher ends the other ranks, which may still be writing.
            leave_at_once(code)
        sys.exit(code)


def _run() -> None:
    debug = "--debug" in sys.argv[1:2]
    escape_what_cannot_be_written()
    outlive_terminal()
    try:
        with stopped_by_signals(), answers_apart(sys.argv[1:]), other_warnings_told():
            _command()(prog_name="xmc")
    except Stopped as stopped:
        _say_error(f"{stopped}.", "Each file it writes is there whole or not at all; the command may be given again.")
        sys.exit(128 + stopped.signal_number)
    except Exception as error:
        sentence, hint = told(error)
        if debug or not sentence:
            raise
        _say_error(sentence, hint)
        sys.exit(error.exit_code if isinstance(error, InterruptedRunError) else 2)


def _say_error(sentence: str, hint: str) -> None:
    typer.secho(f"error: {sentence}", err=True, fg="red")
    if hint:
        typer.echo(f"hint: {hint}", err=True)
