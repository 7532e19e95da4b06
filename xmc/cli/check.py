"""`xmc check`: calibration, label sets, exactness, certificates; verdicts against the limits of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption, SettingsOption
from xmc.errors import ConfigError

if TYPE_CHECKING:
    from xmc.engine.check_report import CheckOutcome, ChecksReport


def check_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Checks to run, or all.")],
    run: RunOption,
    split: Annotated[str, typer.Option("--split", help="Split to judge on.")] = "test",
    fit_split: Annotated[
        str, typer.Option("--fit-split", help="Split to fit on; by default dev, or a half of --split.")
    ] = "",
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="Share that label sets may miss; check.conformal.alpha.")
    ] = None,
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check a run: are its probabilities true, its label sets complete, its answers exact and robust?

    The limits of [check.limits] are judged; exit code 1 when one is missed, 2 when a check that is named cannot be run.
    `all` writes a report with pictures.

    Example: xmc check calibrate --run runs/icd

    Example: xmc check conformal --alpha 0.2 --run runs/icd
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json
    from xmc.engine.verbs import check_run

    settings = list(settings or ())
    if alpha is not None:
        if not {"conformal", "all"} & set(names):
            raise ConfigError("--alpha is for the check 'conformal'.", hint="Leave it out, or add conformal.")
        settings.append(f"check.conformal.alpha={alpha!r}")
    with CountDisplay(quiet=as_json) as display:
        report = check_run(
            run, names, split=split, fit_split=fit_split, settings=settings, device=device, on_progress=display.count
        )
    if as_json:
        print_json({"run": str(run), **report.to_dict()})
    else:
        _print_report(report)
    if report.refused:
        raise typer.Exit(2)
    if not report.passed:
        raise typer.Exit(1)


def _print_report(report: ChecksReport) -> None:
    from xmc.cli.output import print_table
    from xmc.engine.check_page import show_number
    from xmc.retrieve.layout import checks_folder

    typer.echo(f"{report.source}")
    for outcome in report.outcomes:
        _print_outcome(outcome)
    if report.verdicts:
        rows = [
            {
                "limit": verdict.limit.name,
                "measured": show_number(verdict.value),
                "bound": f"{'<=' if verdict.limit.better == 'lower' else '>='} {show_number(verdict.limit.bound)}",
                "verdict": "kept" if verdict.passed else "MISSED",
            }
            for verdict in report.verdicts
        ]
        print_table(rows, title="limits", right=("measured", "bound"))
    folder = checks_folder(report.run)
    written = folder / "report.html" if report.together else folder / report.outcomes[0].name / "report.json"
    typer.echo(f"written: {written}")


def _print_outcome(outcome: CheckOutcome) -> None:
    from xmc.cli.output import print_table
    from xmc.engine.check_page import show_number

    if outcome.refusal:
        typer.echo(f"{outcome.name}: not run: {outcome.refusal}")
        return
    rows = [
        {
            "figure": name,
            "value": show_number(figure.value),
            "95 % interval": ""
            if figure.low is None or figure.high is None
            else f"{show_number(figure.low)} to {show_number(figure.high)}",
        }
        for name, figure in outcome.figures.items()
    ]
    print_table(rows, title=f"{outcome.name}: {outcome.summary}", right=("value",))
    for note in outcome.result.notes if outcome.result else ():
        typer.echo(f"note: {note}")
