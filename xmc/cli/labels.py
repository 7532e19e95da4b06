"""`xmc labels`: add, remove and replace labels of a run, list them, build the index anew over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption
from xmc.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from xmc.engine.label_editing import LabelEditor

ACTIONS = ("add", "remove", "replace", "compact", "list")


def labels_command(
    run: RunOption,
    action: Annotated[str, typer.Argument(help="add, remove, replace, compact or list.")],
    file: Annotated[
        Path | None, typer.Argument(help="Labels: JSON lines {id, text} or Parquet. For remove: ids, one a line, too.")
    ] = None,
    label_id: Annotated[list[str] | None, typer.Option("--id", help="Instead of a file: a label id.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="The text of the label --id.")] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Add, remove or replace labels of a run without building its index, list them, or compact them into a new one.

    Example: xmc labels add new.jsonl --run runs/icd
    Example: xmc labels replace --id I21 --text "acute heart attack" --run runs/icd
    Example: xmc labels remove --id I21 --id I22 --run runs/icd
    """
    import warnings

    from xmc.engine.label_editing import LabelEditor
    from xmc.errors import XmcWarning

    if action not in ACTIONS:
        raise ConfigError(f"'{action}' is not one of {', '.join(ACTIONS)}.", hint=did_you_mean(action, ACTIONS))
    _require_fitting(action, file, label_id or (), text)
    editor = LabelEditor(run)
    if action == "list":
        _list(editor, as_json)
        return
    if action == "compact":
        _compact(editor, device, as_json)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XmcWarning)  # the hint is printed
        if action == "remove":
            report = editor.remove(_ids(file, label_id or ()))
        else:
            edit = editor.add if action == "add" else editor.replace
            report = edit(_labels(file, label_id or (), text))
    _print_report(report.to_dict(), as_json)


def _require_fitting(action: str, file: Path | None, ids: Sequence[str], text: str | None) -> None:
    """Refuse arguments that the action has no use for."""
    if action in ("compact", "list"):
        if file is not None or ids or text is not None:
            raise ConfigError(f"xmc labels {action} takes neither labels nor a file.")
        return
    if (file is None) == (not ids):
        raise ConfigError(f"xmc labels {action} needs either a file or --id.")
    wants_text = action in ("add", "replace") and bool(ids)
    if wants_text != (text is not None) or (wants_text and len(ids) > 1):
        raise ConfigError("--id and --text go together, once each, to add or replace; to remove, --id alone.")


def _labels(file: Path | None, ids: Sequence[str], text: str | None) -> dict[str, str]:
    from xmc.data.label_files import read_label_file

    return read_label_file(file) if file else {ids[0]: text or ""}


def _ids(file: Path | None, ids: Sequence[str]) -> list[str]:
    from xmc.data.label_files import read_id_file

    return read_id_file(file) if file else list(ids)


def _compact(editor: LabelEditor, device: str, as_json: bool) -> None:
    from xmc.cli.output import human_bytes, print_json, print_notes, warnings_as_notes

    with warnings_as_notes() as notes:
        report = editor.compact(device=device)
    if as_json:
        print_json({**asdict(report), "notes": notes})
        return
    typer.echo(
        f"indexed {report.labels:,} labels x {report.dimension} with '{report.backend}' on {report.device_used} "
        f"in {report.build_s:.1f} s, {human_bytes(report.memory_bytes)}"
    )
    print_notes(notes)


def _list(editor: LabelEditor, as_json: bool) -> None:
    """The edits since the index was built, and the sizes."""
    from xmc.cli.output import print_json, print_table

    report, changes = editor.report().to_dict(), editor.changes()
    if as_json:
        print_json({**report, "changes": changes})
        return
    if changes:
        print_table(changes)
    _print_report(report, as_json=False)


def _print_report(report: dict[str, Any], as_json: bool) -> None:
    from xmc.cli.output import print_json

    if as_json:
        print_json(report)
        return
    typer.echo(
        f"{report['labels']:,} labels: {report['base']:,} in the index, {report['added']:,} added and "
        f"{report['removed']:,} gone since it was built"
    )
    if report["hint"]:
        typer.echo(f"note: {report['hint']}", err=True)
