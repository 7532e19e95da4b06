"""`xmc info`: what a run folder holds, every file verified; or its model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from xmc.cli.options import JsonOption
from xmc.errors import ConfigError


def info_command(
    folder: Annotated[Path | None, typer.Argument(help="Folder of a run.", show_default=False)] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="The same, as other verbs take it.", show_default=False)
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Print the run's model card (Markdown).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Describe a run: its data, encoder, index and figures; verify every stored file.

    Example: xmc info runs/icd

    Example: xmc info runs/icd --card
    """
    from xmc.cli.output import print_json, print_table
    from xmc.engine.describe import describe_run
    from xmc.engine.model_card import model_card

    named = [each for each in (folder, run) if each is not None]
    if len(named) != 1:
        raise ConfigError("give the folder of one run.", hint="Example: xmc info runs/icd")
    (run,) = named
    if card and as_json:
        raise ConfigError("--card prints Markdown and --json prints JSON: give only one of them.")
    if card:
        typer.echo(model_card(run), nl=False)
        return
    facts = describe_run(run)
    if as_json:
        print_json(facts)
    else:
        rows = [{"what": key, "value": _shown(value)} for key, value in facts.items()]
        print_table(rows, title=str(run))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
