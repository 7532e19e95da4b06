"""`xmc labels`: change the labels of a run, go back, list the changes, write all labels, build the index anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.index import indexed_line
from xmc.cli.options import JsonOption, RunOption
from xmc.counted import counted
from xmc.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from xmc.engine.label_editing import LabelEditor
    from xmc.engine.labels_report import LabelsReport

ACTIONS = ("add", "put", "replace", "remove", "sync", "versions", "rollback", "compact", "list", "export")
WITH_TEXTS = ("add", "put", "replace", "sync")
WITHOUT_LABELS = ("versions", "rollback", "compact", "list", "export")


def labels_command(
    run: RunOption,
    action: Annotated[
        str,
        typer.Argument(help="add, put, replace, remove, sync, versions, rollback, compact, list or export."),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Labels: JSON lines {id, text}, perhaps metadata, CSV or Parquet. Remove: ids, one a line, too."
        ),
    ] = None,
    label_id: Annotated[list[str] | None, typer.Option("--id", help="Instead of a file: a label id.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="The text of the label --id.")] = None,
    missing_ok: Annotated[
        bool, typer.Option("--missing-ok", help="Remove: pass over labels that are not there.")
    ] = False,
    most_removed: Annotated[
        float | None,
        typer.Option("--most-removed", min=0, max=1, help="Sync: the largest share that may go; 0.5 unless given."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Rollback: the version to go back to, one of those that versions lists.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Compact: auto, cpu or cuda; auto unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change the labels of a run without building its index, go back to earlier ones, or compact them into a new index.

    add takes new labels, replace gives labels that are there other texts, put does either, remove takes labels away.
    sync makes the labels of a file those of the run: it puts them and removes all others.
    Where a file has metadata, they are kept beside its labels; where it has none, what is kept stays.
    versions lists the states that are kept; rollback makes the labels again what they were in one of them.
    export writes all labels as they are now into a new file (.parquet, .arrow, else JSON lines, .gz and .xz
    compressed), or prints them as JSON lines.

    Example: xmc labels add new.jsonl --run runs/icd
    Example: xmc labels sync catalogue.parquet --run runs/icd
    Example: xmc labels replace --id I21 --text "acute heart attack" --run runs/icd
    Example: xmc labels remove --id I21 --id I22 --run runs/icd
    Example: xmc labels rollback --to v000003 --run runs/icd
    """
    import warnings

    from xmc.engine.label_editing import LabelEditor
    from xmc.errors import XmcWarning

    if action not in ACTIONS:
        raise ConfigError(f"'{action}' is not one of {', '.join(ACTIONS)}.", hint=did_you_mean(action, ACTIONS))
    _require_fitting(action, file, label_id or (), text)
    _require_switches(action, missing_ok=missing_ok, most_removed=most_removed, to=to, device=device)
    editor = LabelEditor(run)
    if action == "list":
        _list(editor, as_json)
        return
    if action == "versions":
        _versions(editor, as_json)
        return
    if action == "export":
        _export(editor, file, as_json)
        return
    if action == "compact":
        _compact(editor, device or "auto", as_json)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XmcWarning)  # hint and notes are printed
        if action == "remove":
            report = editor.remove(_ids(file, label_id or ()), missing_ok=missing_ok)
        elif to is not None:
            report = editor.rollback(to)
        else:
            options = {} if most_removed is None else {"most_removed": most_removed}
            report = _edited(run, action, file, dict.fromkeys(label_id or (), text or ""), options)
    _print_report(report.to_dict(), as_json, edited=True)


def _require_fitting(action: str, file: Path | None, ids: Sequence[str], text: str | None) -> None:
    """Refuse arguments that the action has no use for."""
    if action in WITHOUT_LABELS:
        if ids or text is not None or (file is not None and action != "export"):
            raise ConfigError(
                f"xmc labels {action} takes " + ("no --id." if action == "export" else "neither labels nor a file.")
            )
        return
    if (file is None) == (not ids):
        raise ConfigError(f"xmc labels {action} needs either a file or --id.")
    wants_text = action in WITH_TEXTS and bool(ids)
    if wants_text != (text is not None) or (wants_text and len(ids) > 1):
        raise ConfigError("--id and --text go together, once each, to add, put or replace; to remove, --id alone.")
    if action == "sync" and ids:
        raise ConfigError("xmc labels sync takes a file with all labels.", hint="For one label: xmc labels put")


def _require_switches(
    action: str, *, missing_ok: bool, most_removed: float | None, to: str | None, device: str | None
) -> None:
    """Refuse switches of other actions, and a rollback to nowhere."""
    if missing_ok and action != "remove":
        raise ConfigError(f"--missing-ok is for remove, not for {action}.")
    if most_removed is not None and action != "sync":
        raise ConfigError(f"--most-removed is for sync, not for {action}.")
    if (to is not None) != (action == "rollback"):
        if to is None:
            raise ConfigError("xmc labels rollback needs --to, a version.", hint="All that are: xmc labels versions")
        raise ConfigError(f"--to is for rollback, not for {action}.")
    if device is not None and action != "compact":
        raise ConfigError(f"--device is for compact, not for {action}.")


def _edited(run: Path, action: str, file: Path | None, labels: dict[str, str], options: dict[str, Any]) -> LabelsReport:
    """Edit by a file, or these labels; notes say what of the file was not used."""
    from xmc.data.label_metadata_files import LabelFile, read_label_file
    from xmc.engine.passage_editing import PassageEditor

    given = read_label_file(file) if file else LabelFile(labels)
    report = PassageEditor(run).edit(action, given.texts, given.metadata, **options)
    return replace(report, notes=(*report.notes, *(given.notes(file) if file else ())))


def _ids(file: Path | None, ids: Sequence[str]) -> list[str]:
    from xmc.data.label_files import read_id_file

    return read_id_file(file) if file else list(ids)


def _compact(editor: LabelEditor, device: str, as_json: bool) -> None:
    from xmc.cli.output import print_json, print_notes, warnings_as_notes

    with warnings_as_notes() as notes:
        report = editor.compact(device=device)
    if as_json:
        print_json({**asdict(report), "notes": notes})
        return
    typer.echo(indexed_line("indexed", report))
    print_notes(notes)


def _export(editor: LabelEditor, file: Path | None, as_json: bool) -> None:
    """All labels: into a file, or as JSON lines."""
    from xmc.cli.output import print_json
    from xmc.data.label_files import label_lines, write_label_file

    labels = editor.labels()
    if file is None:
        for line in label_lines(labels):
            typer.echo(line, nl=False)
        return
    write_label_file(file, labels)
    if as_json:
        print_json({"file": str(file), "labels": len(labels)})
        return
    typer.echo(f"written: {file}, {counted(len(labels), 'label')}")


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


def _versions(editor: LabelEditor, as_json: bool) -> None:
    """The versions that can be gone back to."""
    from xmc.cli.output import print_json, print_table

    found = [version.to_dict() for version in editor.versions()]
    if as_json:
        print_json({"versions": found})
        return
    if not found:
        typer.echo("no versions: the labels were never edited")
        return
    rows = [{**row, "current": "yes" if row["current"] else ""} for row in found]
    print_table(rows, right=["changed", "labels"])


def _print_report(report: dict[str, Any], as_json: bool, *, edited: bool = False) -> None:
    from xmc.cli.output import print_json, print_notes

    if as_json:
        print_json(report)
        return
    metadata = f"{report['changed_metadata']:,} with other metadata, " if report["changed_metadata"] else ""
    done = f"{report['changed']:,} changed, {metadata}" if edited else ""
    typer.echo(
        f"{done}{counted(report['labels'], 'label')}: {report['base']:,} in the index, {report['added']:,} added and "
        f"{report['removed']:,} gone since it was built"
    )
    print_notes([*report["notes"], *filter(None, [report["hint"]])])
