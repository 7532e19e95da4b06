"""`--plugin-file`, which every verb has that loads plugins; and a note where a training uses nothing of the file."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from xmc.plugin_manager import Plugins

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


def note_on_unused_file(plugins: Plugins, config: Mapping[str, Any]) -> str:
    """A note where the plugin file offers parts of a training and none is named in `config`, plain values; else ''."""
    files = [each.name for each in plugins.loaded if each.is_file]
    offers = [offer for kind in config for offer in plugins.offers.get(kind, ()) if offer.plugin in files]
    named = {*_texts(config)}
    if not offers or any({offer.full_name, offer.spec.name} & named for offer in offers):
        return ""
    shown = ", ".join(f"{offer.spec.kind} {offer.full_name}" for offer in offers)
    first = offers[0]
    return (
        f"nothing of the plugin file is used: it offers {shown} (--set {first.spec.kind}.name={first.full_name}), and "
        f"this training takes {first.spec.kind} {config[first.spec.kind]['name']}"
    )


def _texts(values: Any) -> Iterator[str]:
    """All texts in plain values, at any depth: one part may name another in its options."""
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from _texts(value)
    elif isinstance(values, str):
        yield values
