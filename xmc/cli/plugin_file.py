"""`--plugin-file`, which every verb has that loads plugins."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

FILE_VARIABLE = "XMC_PLUGIN_FILE"  # as `xmc.plugin_manager` reads it, which is imported by the verbs only
PluginFileOption = Annotated[
    Path | None,
    typer.Option("--plugin-file", help="A Python file that is a plugin; it is run."),
]


def with_plugin_file(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the further option `--plugin-file`, which the command itself does not see.

    While it runs, every `load_plugins` of this process, and of processes that it starts, reads the file.
    """

    @functools.wraps(command)
    def wrapped(plugin_file: Path | None = None, **arguments: Any) -> None:
        if plugin_file is None:
            command(**arguments)
            return
        before = os.environ.get(FILE_VARIABLE)
        os.environ[FILE_VARIABLE] = str(plugin_file.absolute())
        try:
            command(**arguments)
        finally:
            os.environ.pop(FILE_VARIABLE)
            if before is not None:
                os.environ[FILE_VARIABLE] = before

    signature = inspect.signature(command, eval_str=True)
    added = inspect.Parameter("plugin_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PluginFileOption)
    parameters = [*signature.parameters.values(), added]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped
