"""`xmc diagnose`: how the head of a run learned, when it should have stopped, and what would help it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption
from xmc.counted import counted

if TYPE_CHECKING:
    from xmc.engine.diagnosing import Diagnosed


def diagnose_command(
    run: RunOption,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the halves that fit and judge.")] = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Diagnose the head of a run: spectrum, signal over noise, when to stop; more data, a wider encoder or neither?

    Example: xmc diagnose --run runs/icd
    """
    from xmc.cli.output import print_json
    from xmc.engine.diagnosing import FOLDER
    from xmc.engine.verbs import diagnose_run

    found = diagnose_run(run, device=device, seed=seed)
    if as_json:
        print_json({**found.to_dict(), "run": str(run)})
        return
    _print(found)
    typer.echo(f"written: {run / FOLDER / 'report.json'} and {run / FOLDER / 'diagnosis.png'}")


def _print(found: Diagnosed) -> None:
    head = found.diagnosis
    snr = "no noise found" if head.snr is None else f"signal/noise {head.snr:.3g}"
    typer.echo(
        f"{counted(head.queries, 'query')}, {counted(head.features, 'feature')}, "
        f"{counted(head.answers, 'label')}, {snr}"
    )
    excess = head.measured_T[-1] / head.measured_T.min() - 1
    typer.echo(
        f"least held-out error {head.measured_T.min():.4f} of that of nothing learned; never stopping: {excess:+.1%}"
    )
    typer.echo(f"best time of the flow: predicted {head.stopping_time:.4g}, measured {head.measured_time:.4g}")
    if head.run_time is not None:
        typer.echo(f"the run's head (step {head.run_step:,}) stands at {head.run_time:.4g}, R^2 {head.run_fit:.2f}")
        step = "after its last step" if head.stopping_step is None else f"at step {head.stopping_step:,}"
        best = "" if found.measured_step is None else f"; its validation P@1 was best at step {found.measured_step:,}"
        typer.echo(f"predicted stop: {step}{best}")
    gains = ", ".join(f"{name} {gain:+.1%}" for name, gain in head.advice.gains.items())
    typer.echo(f"advice: {head.advice.advice} ({head.advice.reason}); {gains}")
    for note in head.notes:
        typer.echo(f"note: {note}")
