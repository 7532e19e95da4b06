"""`xmc index`: build the index of a run anew."""

from __future__ import annotations

from dataclasses import asdict

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption, SettingsOption


def index_command(
    run: RunOption, settings: SettingsOption = None, device: DeviceOption = "auto", as_json: JsonOption = False
) -> None:
    """Build the index of a run, with another backend if asked.

    Example: xmc index --run runs/icd --set index.name=faiss.flat
    """
    from xmc.cli.output import human_bytes, print_json
    from xmc.engine.verbs import index_run

    report = index_run(run, settings=settings or (), device=device)
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(
            f"indexed {report.labels:,} labels x {report.dimension} with '{report.backend}' on {report.device_used} "
            f"in {report.build_s:.1f} s, {human_bytes(report.memory_bytes)}"
        )
