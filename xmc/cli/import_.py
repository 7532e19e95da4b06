"""`xmc import`: turn a data set in another format into a data set folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import JsonOption
from xmc.cli.output import print_json
from xmc.counted import counted

if TYPE_CHECKING:
    from xmc.data.importers import ImportReport

FORMATS = "auto, jsonl, csv, parquet, xmc, beir, trec, huggingface"


def import_command(
    source: Annotated[Path, typer.Argument(help="Folder that holds the data set.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must be new or empty.")],
    format: Annotated[str, typer.Option(help=f"One of: {FORMATS}.")] = "auto",
    on_bad_row: Annotated[
        str, typer.Option(help="error: stop at the first bad row; skip: leave out and count.")
    ] = "error",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Import a data set: JSON lines, CSV, Parquet, Extreme Classification Repository, BEIR, TREC, Hugging Face on disk.

    Example: xmc import my-data --out data/mine
    """
    from xmc.data.importers import import_dataset
    from xmc.errors import ConfigError, quoted

    if on_bad_row not in ("error", "skip"):
        raise ConfigError(f"--on-bad-row '{on_bad_row}' is not one of: error, skip.")
    report = import_dataset(source, out, format=format, on_bad_row=on_bad_row, overwrite=overwrite)  # type: ignore[arg-type]
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo("\n".join(lines_of(report)))
        plugin = f"--plugin {report.recipe} " if report.recipe else ""
        typer.echo(f"next: xmc train {plugin}--data {quoted(out)} --out {quoted(Path('runs') / out.resolve().name)}")


def lines_of(report: ImportReport) -> list[str]:
    """The report as lines for people: counts by table, what was skipped and why, and where the result is."""
    lines = [f"{report.source} ({report.format}) -> {report.out}"]
    for name, table in report.tables.items():
        lines.append(
            f"  {name}: {counted(table.read, 'row')} read, {table.written:,} kept, {table.skipped.total():,} skipped"
        )
        lines += [f"    {count:,} x {reason}" for reason, count in table.skipped.most_common()]
        lines += [f"    {example}" for example in table.examples]
    unknown = report.unknown_label_ids
    if unknown:
        shown = ", ".join(f"{label_id!r} ({counted(count, 'time')})" for label_id, count in unknown.most_common(5))
        are_skipped = "labels" in report.tables and report.tables["labels"].skipped.total()
        what = "unknown or skipped label id" if are_skipped else "unknown label id"
        lines.append(f"  {counted(len(unknown), what)}, {counted(unknown.total(), 'positive')} left out: {shown}")
    if report.merged_positives:
        stood = "stood twice in a query and"
        merged = counted(report.merged_positives, f"label {stood} was merged", f"labels {stood} were merged")
        lines.append(f"  {merged}")
    return [*lines, *(f"  {note}" for note in (*report.notes, *report.shared.sentences()))]
