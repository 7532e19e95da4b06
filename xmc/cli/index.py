"""`xmc index`: build the index of a run anew, named or chosen by goal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption, SettingsOption
from xmc.counted import counted
from xmc.errors import ConfigError

if TYPE_CHECKING:
    from xmc.engine.tuning import Tuned
    from xmc.tune.trial import Trial
    from xmc.values import IndexReport


def index_command(
    run: RunOption,
    target_recall: Annotated[
        float | None,
        typer.Option("--target-recall", help="Choose the fastest index with this recall@k against exact search."),
    ] = None,
    memory: Annotated[
        str, typer.Option("--memory", metavar="SIZE", help="Choose an index of at most this size, such as 500MB.")
    ] = "",
    latency: Annotated[
        str,
        typer.Option(
            "--latency", metavar="TIME", help="Choose an index that takes at most this for a query, such as 2ms."
        ),
    ] = "",
    k: Annotated[int, typer.Option("-k", help="Labels of a query that count, when choosing.")] = 10,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Queries asked at once, when choosing.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which held-out queries choose and judge.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Choose and print, but leave the run as it is.")] = False,
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Build the index of a run, with another backend if asked, or choose one by goal.

    A goal is a recall, a size, a time, or several: what the installed backends propose is measured on held-out queries,
    and the choice is kept in the run with the whole curve.

    Example: xmc index --run runs/icd --set index.name=faiss.flat

    Example: xmc index --run runs/icd --target-recall 0.95
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json, print_notes, warnings_as_notes
    from xmc.cli.units import parse_bytes, parse_seconds
    from xmc.engine.verbs import index_run, tune_run
    from xmc.tune.goal import Goal

    if target_recall is None and not memory and not latency:
        given = {"--dry-run": dry_run, "-k": k != 10, "--batch-size": batch_size != 64, "--seed": seed != 0}
        for flag in (name for name, is_given in given.items() if is_given):
            raise ConfigError(f"{flag} is for an index that is chosen by goal.", hint="Give --target-recall, say.")
        with warnings_as_notes() as notes:
            report = index_run(run, settings=settings or (), device=device)
        if as_json:
            print_json({**asdict(report), "notes": notes})
            return
        typer.echo(indexed_line("indexed", report))
        print_notes(notes)
        return
    sizes = parse_bytes(memory) if memory else None, parse_seconds(latency) if latency else None
    goal = Goal(target_recall, *sizes, k, batch_size)
    with warnings_as_notes() as notes, CountDisplay(quiet=as_json) as display:
        tuned = tune_run(
            run, goal, settings=settings or (), device=device, seed=seed, dry_run=dry_run, on_progress=display.count
        )
    if as_json:
        print_json({**_facts(run, tuned, dry_run), "notes": notes})
        return
    _print_choice(run, tuned, dry_run)
    print_notes(notes)


def _facts(run: Path, tuned: Tuned, dry_run: bool) -> dict[str, Any]:
    from xmc.tune.report import curve, full_report

    details = full_report(tuned.choice)
    kept = {name: details[name] for name in ("tried", "tried_on_a_sample", "left_out")}
    return {"run": str(run), "dry_run": dry_run, **asdict(tuned.index), **kept, "curve": curve(tuned.choice)}


def _print_choice(run: Path, tuned: Tuned, dry_run: bool) -> None:
    from xmc.cli.output import print_table
    from xmc.engine.tuning import TUNING_FOLDER
    from xmc.retrieve.layout import index_store

    choice = tuned.choice
    typer.echo(f"goal: {choice.goal}; {choice.source}")
    rows = [_row(trial, tuned) for trial in choice.trials]
    print_table(rows, right=[name for name in rows[0] if name not in ("index", "verdict")])
    judged = choice.judged
    typer.echo(
        f"recall@{choice.goal.k} on {counted(judged.queries, 'query')} that did not choose: {judged.recall:.3f} "
        f"[{judged.low:.3f}, {judged.high:.3f}]; {judged.queries_per_s:,.0f} queries/s in batches of "
        f"{choice.goal.batch_size}, {1000 * judged.latency_s:.3g} ms for one query"
    )
    for note in (*choice.notes, *choice.refusals):
        typer.echo(f"note: {note}")
    typer.echo(indexed_line("would index" if dry_run else "indexed", tuned.index))
    if not dry_run:
        typer.echo(
            f"written: {index_store(run).current().folder / TUNING_FOLDER} and the choice in {run / 'config.toml'}"
        )


def _row(trial: Trial, tuned: Tuned) -> dict[str, str]:
    """The best setting of a candidate; of one that does not serve the goal, that with the best recall."""
    from xmc.cli.output import human_bytes

    choice = tuned.choice
    point = trial.best(choice.goal) or max(trial.points, key=lambda point: point.recall, default=None)
    if point is None:
        size = human_bytes(trial.candidate.estimated_bytes)
        measured = {"recall": "", "queries/s": "", "ms a query": "", "memory": f"about {size}", "built in": ""}
        return {"index": str(trial.candidate), **measured, "verdict": trial.verdict}
    return {
        "index": ", ".join([str(trial.candidate), *(f"{key}={value}" for key, value in point.search_options.items())]),
        "recall": f"{point.recall:.3f}",
        "queries/s": f"{point.queries_per_s:,.0f}",
        "ms a query": f"{1000 * point.latency_s:.3g}",
        "memory": human_bytes(point.memory_bytes),
        "built in": f"{point.build_s:.1f} s",
        "verdict": trial.verdict,
    }


def indexed_line(done: str, report: IndexReport) -> str:
    """What was indexed, how, and in how long."""
    from xmc.cli.output import human_bytes

    moved = f"; a training query counts {report.query_weight:.3g} of a label's text" if report.query_weight else ""
    return (
        f"{done} {counted(report.labels, 'label')} x {report.dimension} with '{report.backend}' on "
        f"{report.device_used} "
        f"in {report.build_s:.1f} s, {human_bytes(report.memory_bytes)}{moved}"
    )
