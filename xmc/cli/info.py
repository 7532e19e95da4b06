"""`xmc info`: what a run folder holds, every file verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from xmc.cli.options import JsonOption


def info_command(run: Annotated[Path, typer.Argument(help="Folder of a run.")], as_json: JsonOption = False) -> None:
    """Describe a run: its data, encoder, index and figures; verify every stored file.

    Example: xmc info runs/icd
    """
    from xmc.cli.output import print_json, print_table
    from xmc.engine.describe import describe_run

    facts = describe_run(run)
    if as_json:
        print_json(facts)
    else:
        rows = [{"what": key, "value": _shown(value)} for key, value in facts.items()]
        print_table(rows, title=str(run))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
