"""`xmc choose`: which of several runs would do best in the place of the one that made a log, and at what risk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import DeviceOption, JsonOption
from xmc.counted import counted
from xmc.errors import ConfigError

if TYPE_CHECKING:
    from xmc.choose.candidate import CandidateReport
    from xmc.choose.report import ChoiceReport
    from xmc.evaluate.figures import Figure


def choose_command(
    log: Annotated[str, typer.Option("--log", help="Log of what was shown and clicked: Parquet or Arrow.")],
    run: Annotated[
        list[str] | None, typer.Option("--run", "--runs", help="FOLDER or NAME=FOLDER of a run; may be repeated.")
    ] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Further runs, likewise.")] = None,
    temperature: Annotated[
        float, typer.Option("--temperature", help="0: a run shows its best labels; above: softmax(score / it).")
    ] = 0.0,
    estimator: Annotated[str, typer.Option("--estimator", help="Estimator that chooses.")] = "cascade-dr",
    truth: Annotated[
        Path | None, typer.Option("--truth", help="JSON file with the true value of each run, to judge estimators by.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for report.json and the picture.")] = Path("choice"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of drawn lists and intervals.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Choose among runs by the log of what another one showed and what was clicked, without an online test.

    Example: xmc choose --log clicks.parquet --run runs/a --run b=runs/b --temperature 0.05
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json
    from xmc.engine.run_names import name_runs
    from xmc.engine.verbs import choose_run

    folders = name_runs([*(run or ()), *(words or ())])
    truths = {} if truth is None else _read_truths(truth)
    with CountDisplay(quiet=as_json) as display:
        report = choose_run(
            log, folders, out=out, temperature=temperature, estimator=estimator, truths=truths, device=device,
            seed=seed, on_progress=display.count,
        )  # fmt: skip
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
        typer.echo(f"written: {out / 'report.json'} and {out / 'return-risk.png'}")


def _read_truths(path: Path) -> dict[str, float]:
    """True values by the name of the run. Raises: ConfigError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--truth {path} cannot be read: {error}.") from error
    if not isinstance(found, dict) or any(type(value) not in (int, float) for value in found.values()):
        raise ConfigError(f'--truth {path} must hold true values by run, such as {{"a": 0.31, "b": 0.28}}.')
    return {name: float(value) for name, value in found.items()}


def _print_report(report: ChoiceReport) -> None:
    from xmc.cli.output import print_table

    log = report.log
    typer.echo(
        f"log: {counted(log['rows'], 'list')} for {counted(log['queries'], 'query')}, up to "
        f"{counted(log['ranks'], 'label')} each; "
        f"a list earned {_with_ends(report.behaviour)}"
    )
    rows = [_row(candidate, report.options.estimator) for candidate in report.candidates]
    print_table(rows, title=f"by {report.options.estimator}", right=list(rows[0])[1:-1])
    for candidate in report.candidates:
        for note in (*candidate.notes, *([candidate.refusal] if candidate.refusal else [])):
            typer.echo(f"note: {candidate.name}: {note}")
    if report.portfolios:
        _print_portfolios(report)
    if report.choice:
        typer.echo(f"choice: {report.choice}")
    else:
        worth = ", ".join(report.worth_a_test) or "none"
        typer.echo(f"choice: none, the log does not show one to be better; worth an online test: {worth}")


def _row(candidate: CandidateReport, estimator: str) -> dict[str, str]:
    row = dict.fromkeys(("run", "value", "gain", "risk", "chance worse", "effective rows", "outside", "verdict"), "")
    row |= {"run": candidate.name, "verdict": candidate.verdict}
    if candidate.gain is None or candidate.overlap is None:
        return row
    return row | {
        "value": _with_ends(candidate.estimates[estimator]),
        "gain": _with_ends(candidate.gain),
        "risk": f"{candidate.risk:.4f}",
        "chance worse": f"{candidate.chance_worse:.3f}",
        "effective rows": f"{candidate.overlap.effective_rows:,.0f}",
        "outside": f"{100 * candidate.overlap.outside:.0f} %",
    }


def _print_portfolios(report: ChoiceReport) -> None:
    """How well each estimator chose, by the true values."""
    from xmc.cli.output import print_table

    rows = [
        {
            "estimator": name,
            "k": found.k,
            **{each: f"{getattr(found, each):.4f}" for each in ("best", "worst", "mean", "std")},
            "violations": f"{100 * found.violations:.0f} %",
            "SharpeRatio": "" if found.sharpe_ratio is None else f"{found.sharpe_ratio:.2f}",
        }
        for name, portfolios in report.portfolios.items()
        for found in portfolios
    ]
    print_table(rows, title="top k of each estimator, by true value", right=list(rows[0])[1:])


def _with_ends(figure: Figure) -> str:
    ends = "" if figure.low is None or figure.high is None else f" [{figure.low:.4f}, {figure.high:.4f}]"
    return f"{figure.value:.4f}{ends}"
