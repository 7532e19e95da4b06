"""`xmc scale`: predict what a large training will reach and cost, from a ladder of small ones or from finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import ConfigOption, DataOption, DeviceOption, JsonOption, PluginOption, SettingsOption

if TYPE_CHECKING:
    from xmc.engine.scaling import Scaled
    from xmc.evaluate.figures import Figure
    from xmc.scale.points import Point

CLOCKS = {"processor": "processors", "clock": "the clock"}


def scale_command(
    data: DataOption = "",
    plugin: PluginOption = "dexml",
    config: ConfigOption = None,
    settings: SettingsOption = None,
    budget: Annotated[float, typer.Option("--budget", help="Share of the target's compute for the small runs.")] = 0.1,
    run: Annotated[
        list[str] | None, typer.Option("--run", "--runs", help="Finished run instead, FOLDER or NAME=FOLDER; repeated.")
    ] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Further runs, likewise.")] = None,
    pairs: Annotated[int, typer.Option("--pairs", help="Pairs seen by the target, where no data names it.")] = 0,
    parameters: Annotated[int, typer.Option("--parameters", help="Its parameters (0: those of the largest run).")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for report.json and the picture.")] = Path("scaling"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the intervals.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict P@1, validation loss and time of a large training from small ones, with intervals, before it is paid for.

    Example: xmc scale --data icd10cm --plugin dexml --out scaling
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json
    from xmc.engine.run_names import name_runs
    from xmc.engine.verbs import scale_run

    runs = name_runs([*(run or ()), *(words or ())])
    with CountDisplay(quiet=as_json) as display:
        scaled = scale_run(
            data, out, runs=runs, plugin=plugin, config_file=config, settings=settings or (), budget=budget,
            pairs=pairs, parameters=parameters, seed=seed, device=device, on_progress=display.count,
        )  # fmt: skip
    if as_json:
        print_json(scaled.to_dict())
        return
    _print(scaled)
    typer.echo(f"written: {out / 'report.json'} and {out / 'scale.png'}")


def _print(scaled: Scaled) -> None:
    from xmc.cli.output import print_table

    found = scaled.prediction
    rows = [_row(point) for point in found.points]
    print_table(rows, title="the runs", right=list(rows[0])[1:])
    size = f"{found.target.parameters:,} parameters and {found.target.pairs:,} pairs seen"
    typer.echo(f"predicted for {size}, with 95 % intervals:")
    typer.echo(f"  P@1              {_with_ends(found.p1)}")
    typer.echo(f"  validation loss  {_with_ends(found.loss)}")
    typer.echo(f"  seconds          {_with_ends(found.seconds, digits=1)} of {CLOCKS[scaled.seconds_are]}")
    other = {name: f"{route.p1.value:.4f}" for name, route in found.routes.items() if name != found.route}
    typer.echo(
        f"P@1 is predicted {found.route}, which, from the other runs, missed the largest by "
        f"{found.misses[found.route]:.4f}; {', '.join(f'{name} it would be {value}' for name, value in other.items())}"
    )
    for note in found.notes:
        typer.echo(f"note: {note}")


def _row(point: Point) -> dict[str, str]:
    return {
        "run": point.name, "parameters": f"{point.size.parameters:,}", "pairs": f"{point.size.pairs:,}",
        "loss": f"{point.loss:.4f}", "P@1": f"{point.p1:.4f}", "seconds": f"{point.seconds:.1f}",
    }  # fmt: skip


def _with_ends(figure: Figure, *, digits: int = 4) -> str:
    low, high = figure.ends
    return f"{figure.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
