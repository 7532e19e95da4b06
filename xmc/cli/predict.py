"""`xmc predict`: the best labels for every row of many files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import AllowedOption, DeviceOption, JsonOption, ProbabilityOption, RunOption
from xmc.counted import counted
from xmc.errors import UnknownLabelsError
from xmc.machine import keep_threads_to_quota

if TYPE_CHECKING:
    from xmc.predict.report import PredictReport

MOST_FAILURES = 20


def predict_command(
    run: RunOption,
    shards: Annotated[
        list[str],
        typer.Option("--shards", help="Files, folder, quoted pattern or URL: Parquet or Arrow. May be repeated."),
    ],
    out: Annotated[str, typer.Option("--out", help="Folder or URL for the hits: one Parquet file a shard.")],
    k: Annotated[int, typer.Option("-k", help="How many labels.")] = 10,
    min_probability: ProbabilityOption = None,
    engine: Annotated[str, typer.Option("--engine", help="native (this machine), ray or dask.")] = "native",
    workers: Annotated[int, typer.Option("--workers", help="Processes or actors; 0: one a core.")] = 0,
    scheduler: Annotated[str, typer.Option("--scheduler", help="Address of the Ray or Dask cluster.")] = "",
    batch_rows: Annotated[int, typer.Option("--batch-rows", help="Rows searched and written at a time.")] = 1024,
    allowed: AllowedOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output of another job in --out.")] = False,
    redo_changed: Annotated[
        bool, typer.Option("--redo-changed", help="Answer inputs again that were written again since.")
    ] = False,
    moved: Annotated[bool, typer.Option("--moved", help="The inputs lie elsewhere now, and are the same.")] = False,
    skip_failed: Annotated[
        bool, typer.Option("--skip-failed", help="Finish without the shards that cannot be answered.")
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the best labels for every row of many files, in bounded memory; started again, it goes on.

    Example: xmc predict --run runs/icd --shards 'queries/*.parquet' --out hits -k 100
    """
    if engine == "native":  # Ray and Dask give threads to their processes themselves
        keep_threads_to_quota()
    from xmc.data.label_files import read_id_file

    predict_and_show(
        run,
        shards,
        out,
        k=k,
        min_probability=min_probability,
        engine=engine,
        workers=workers,
        scheduler=scheduler,
        batch_rows=batch_rows,
        allowed=None if allowed is None else read_id_file(allowed),
        device=device,
        overwrite=overwrite,
        redo_changed=redo_changed,
        moved=moved,
        skip_failed=skip_failed,
        as_json=as_json,
    )


@contextlib.contextmanager
def allowed_by_option() -> Iterator[None]:
    """Label ids that are not there, told in words of the command line."""
    try:
        yield
    except UnknownLabelsError as error:
        hint = "Leave them out of --allow or --allowed; a label's id is what `label` says in: xmc search TEXT --run RUN"
        raise UnknownLabelsError(error.message, hint=hint) from error


def predict_and_show(run: Path, shards: list[str], out: str, *, as_json: bool, **options: Any) -> None:
    """`predict_run` with these options, its progress and its report on the terminal."""
    from xmc.cli.output import print_json
    from xmc.cli.predict_display import PredictDisplay
    from xmc.predict.predict import predict_run
    from xmc.predict.report import FailedShardsError

    try:
        with allowed_by_option(), PredictDisplay(quiet=as_json) as display:
            report = predict_run(run, shards, out, on_progress=display.show, **options)
    except FailedShardsError as error:
        if as_json:
            print_json({"run": str(run), **error.report.to_dict()})
        elif len(error.report.failures) > 1:  # a single one is what the error says
            print_failures(error.report)
        raise
    if as_json:
        print_json({"run": str(run), **report.to_dict()})
    else:
        print_prediction(report)


def print_failures(report: PredictReport) -> None:
    """The shards that could not be answered, the first of them."""
    for failure in report.failures[:MOST_FAILURES]:
        typer.echo(f"failed: {failure['error']}", err=True)
    if len(report.failures) > MOST_FAILURES:
        typer.echo(f"failed: {len(report.failures) - MOST_FAILURES:,} more", err=True)


def print_prediction(report: PredictReport) -> None:
    """What was done."""
    from xmc.cli.output import print_notes
    from xmc.cli.predict_display import rate_words

    if report.failures:
        print_failures(report)
        typer.echo(
            f"note: {counted(len(report.failures), 'shard is', 'shards are')} left out; see "
            "_failures.jsonl in the output",
            err=True,
        )
    print_notes(report.notes)
    for status, count in report.statuses.items():
        if status != "ok":
            meaning = "the first labels by id as hits" if status == "no-match" else "no hits"
            rows = counted(count, f"row is '{status}' and has", f"rows are '{status}' and have")
            typer.echo(f"note: {rows} {meaning}")
    earlier = f", {report.skipped:,} of them there already" if report.skipped else ""
    rate = f" at {rate_words(report.rows_now, report.seconds)}" if report.rows_now and report.seconds else ""
    typer.echo(f"{counted(report.rows, 'row')} of {counted(report.shards, 'shard')}{earlier}{rate}")
    typer.echo(f"written: {str(Path(report.out)) if '://' not in report.out else report.out}")
