"""`xmc evaluate`: figures of a run on held-out queries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption, SettingsOption
from xmc.counted import counted

if TYPE_CHECKING:
    from xmc.evaluate.report import Beside, EvaluationReport


def evaluate_command(
    run: RunOption,
    split: Annotated[str, typer.Option("--split", help="Split of the run's data set.")] = "test",
    beside: Annotated[
        Path | None, typer.Option("--beside", help="Another run, asked the same queries: is this one better?")
    ] = None,
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Evaluate a run: P, R, nDCG, PSP, MRR at k, in all and for head, torso, tail and zero-shot labels.

    With --beside also how much larger each figure is than that of another run, with intervals of the difference.

    Example: xmc evaluate --run runs/icd
    Example: xmc evaluate --run runs/margin --beside runs/usual
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json
    from xmc.engine.verbs import evaluate_run

    with CountDisplay(quiet=as_json) as display:
        report = evaluate_run(
            run, split=split, settings=settings or (), device=device, on_progress=display.count, beside=beside
        )
    if as_json:
        print_json({"run": str(run), "split": split, **report.to_dict()})
    else:
        _print_report(report, split, run)
        typer.echo(f"written: {run / 'report.json'} and {run / 'hits' / (split + '.parquet')}")


def _print_report(report: EvaluationReport, split: str, run: Path) -> None:
    from xmc.cli.output import print_table

    rows = [_row(row) for row in report.table()]
    print_table(
        rows, title=f"{split}: {counted(report.overall.queries, 'query')}", right=[c for c in rows[0] if c != "figure"]
    )
    options = report.options
    intervals = ", 95 % intervals by bootstrap" if options.bootstrap_samples else ""
    typer.echo(
        f"in per cent{intervals}; bands by training queries a label: head >= {options.head_min}, "
        f"torso >= {options.torso_min}, tail >= 1, zero-shot 0; "
        f"propensity A = {options.propensity_a}, B = {options.propensity_b}"
    )
    if report.beside is not None:
        _print_beside(report, report.beside, run)
    for note in report.notes:
        typer.echo(f"note: {note}")


def _print_beside(report: EvaluationReport, beside: Beside, run: Path) -> None:
    from xmc.cli.output import print_table

    rows = []
    for name, figure in beside.differences.items():
        apart = f"{100 * figure.value:+.2f}"
        if figure.low is not None and figure.high is not None:
            apart += f" [{100 * figure.low:+.2f}, {100 * figure.high:+.2f}]"
        both = (_number(report.overall.value(name)), _number(beside.figures[name].value))
        rows.append({"figure": name, "this run": both[0], "beside": both[1], "difference": apart})
    print_table(rows, title=f"{run} beside {beside.run}", right=list(rows[0])[1:])
    if report.options.bootstrap_samples:
        typer.echo(
            "an interval of a difference that leaves out 0: of other queries, too, the one would be better than the "
            "other; what chance in training changes it does not show"
        )


def _row(row: dict[str, Any]) -> dict[str, str]:
    shown = {key: _number(value) for key, value in row.items() if key not in ("low", "high")}
    if row["low"] is not None:
        shown["all"] += f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return shown


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{100 * value:.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
