"""`xmc export`: the text encoder of a run as ONNX, compared with the run before anything is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import JsonOption, RunOption

if TYPE_CHECKING:
    from xmc.engine.exporting import ExportReport

NUMBERS = ("texts", "largest difference", "smallest cosine")


def export_command(
    run: RunOption,
    out: Annotated[Path, typer.Option("--out", help="New folder for the exported files.")],
    format: Annotated[str, typer.Option("--format", help="Only onnx so far.")] = "onnx",
    as_json: JsonOption = False,
) -> None:
    """Export a run's text encoder as ONNX with its tokenizer, compared with the run's own embeddings first.

    Exit code 1 when they differ, and then nothing is written. Needs the extra onnx.

    Example: xmc export --run runs/icd --out exported/icd
    """
    from xmc.engine.exporting import ExportError
    from xmc.engine.verbs import export_run

    try:
        _show(export_run(run, out, format=format), run, out, as_json=as_json)
    except ExportError as error:
        _show(error.report, run, None, as_json=as_json)
        typer.secho(f"error: {error.message}", err=True, fg="red")
        typer.echo(f"hint: {error.hint}", err=True)
        raise typer.Exit(1) from None


def _show(report: ExportReport, run: Path, written: Path | None, *, as_json: bool) -> None:
    from xmc.cli.output import print_json, print_table

    if as_json:
        print_json({"run": str(run), "out": str(written) if written else None, **report.to_dict()})
        return
    print_table([_row(role, found) for role, found in report.to_dict()["comparisons"].items()], right=NUMBERS)
    for note in report.notes:
        typer.echo(f"note: {note}")
    if written:
        typer.echo(f"written: {written}")


def _row(role: str, found: dict[str, Any]) -> dict[str, str]:
    return {
        "side": role,
        "texts": str(found["texts"]),
        "largest difference": _finite(found["largest_difference"], ".2e"),
        "smallest cosine": _finite(found["smallest_cosine"], ".7f"),
        "verdict": "equal" if found["passed"] else "DIFFERENT",
    }


def _finite(value: float | None, style: str) -> str:
    return "not finite" if value is None else format(value, style)
