"""`xmc info`: what a run folder holds, every file verified; its model card; or several runs side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import JsonOption
from xmc.errors import ConfigError

if TYPE_CHECKING:
    from xmc.engine.comparing import Comparison


def info_command(
    words: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Folder of a run; several are compared.")
    ] = None,
    run: Annotated[
        list[Path] | None, typer.Option("--run", help="The same, as other verbs take it.", show_default=False)
    ] = None,
    card: Annotated[bool, typer.Option("--card", help="Print the run's model card (Markdown).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Describe a run: its data, encoder, index and figures; verify every stored file. Or compare several.

    Example: xmc info runs/icd
    Example: xmc info runs/icd --card
    Example: xmc info runs/icd runs/robust
    """
    from xmc.cli.output import print_json, print_table
    from xmc.engine.describe import describe_run
    from xmc.engine.model_card import model_card

    named = [*(words or ()), *(run or ())]
    if not named:
        raise ConfigError("give the folder of a run.", hint="Example: xmc info runs/icd")
    if card and (as_json or len(named) > 1):
        raise ConfigError("--card prints the Markdown of one run: leave out --json and other runs.")
    if len(named) > 1:
        _compare(named, as_json=as_json)
        return
    (only,) = named
    if card:
        typer.echo(model_card(only), nl=False)
        return
    facts = describe_run(only)
    if as_json:
        print_json(facts)
    else:
        rows = [{"what": key, "value": _shown(value)} for key, value in facts.items()]
        print_table(rows, title=str(only))


def _compare(runs: list[Path], *, as_json: bool) -> None:
    from xmc.cli.output import print_json, print_notes, print_table
    from xmc.engine.comparing import compare_runs
    from xmc.plugin_manager import load_plugins

    found = compare_runs(runs, plugins=load_plugins())
    if as_json:
        print_json(found.to_dict())
        return
    rows = _rows(found)
    if rows:
        print_table(rows, right=list(rows[0])[1:])
    if not found.settings:
        typer.echo("no setting differs")
    if found.over_seeds is not None:
        typer.echo("only the seed differs: the last column is the mean and the standard deviation over the runs")
    if found.figures:
        typer.echo("figures in per cent, in brackets their 95 % intervals where they were measured")
    print_notes(found.notes)


def _rows(found: Comparison) -> list[dict[str, str]]:
    figures = {name: [_figure(at) for at in values] for name, values in found.figures.items()}
    training = {f"train {name}": [_shown_of(value) for value in values] for name, values in found.training.items()}
    settings = {name: [_shown_of(value) for value in values] for name, values in found.settings.items()}
    columns = [f"{number}: {run}" for number, run in enumerate(found.runs, start=1)]  # a run may be named twice
    over = _over_seeds(found)
    return [
        {"what": name, **dict(zip(columns, values, strict=True)), **({"mean ± sd": over.get(name, "")} if over else {})}
        for name, values in {**settings, **training, **figures}.items()
    ]


def _over_seeds(found: Comparison) -> dict[str, str]:
    """Of each row what is said over runs that differ in their seed alone; empty for others."""
    over = found.over_seeds or {"training": {}, "figures": {}}
    return {
        **{f"train {name}": f"{at['mean']:.4g} ± {at['deviation']:.2g}" for name, at in over["training"].items()},
        **{name: f"{100 * at['mean']:.2f} ± {100 * at['deviation']:.2f}" for name, at in over["figures"].items()},
    }


def _figure(at: Mapping[str, float | None] | None) -> str:
    if at is None or at["value"] is None:
        return ""
    low, high = at.get("low"), at.get("high")
    ends = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * at['value']:.2f}{ends}"


def _shown_of(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else _shown(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
