"""Importing a data set: find the format, read, check, write a data set folder and a report beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from xmc.data.dataset import Dataset, nothing_to_tell_apart
from xmc.data.fingerprint import fingerprint_of
from xmc.data.importers.beir import EXPECTED as BEIR_FILES
from xmc.data.importers.beir import is_beir, open_beir
from xmc.data.importers.collect import collect_labels, collect_queries, ids_read_as_numbers
from xmc.data.importers.huggingface import EXPECTED as HUGGINGFACE_FILES
from xmc.data.importers.huggingface import is_huggingface, open_huggingface
from xmc.data.importers.jsonl import EXPECTED as JSONL_FILES
from xmc.data.importers.jsonl import is_jsonl, open_jsonl
from xmc.data.importers.parquet import EXPECTED as PARQUET_FILES
from xmc.data.importers.parquet import is_parquet, open_parquet
from xmc.data.importers.repository import EXPECTED as REPOSITORY_FILES
from xmc.data.importers.repository import is_repository, open_repository
from xmc.data.importers.rows import Source
from xmc.data.importers.shared import shared_by
from xmc.data.importers.spreadsheet import EXPECTED as SPREADSHEET_FILES
from xmc.data.importers.spreadsheet import is_spreadsheet, open_spreadsheet
from xmc.data.importers.tally import ImportReport, OnBadRow, Tally
from xmc.data.importers.text_files import contents_of, differs_by_case
from xmc.data.importers.trec import EXPECTED as TREC_FILES
from xmc.data.importers.trec import is_trec, open_trec
from xmc.data.importers.unrecognised import what_to_do
from xmc.data.recipe_advice import recipe_advice
from xmc.data.shards import write_table
from xmc.data.split_names import unread_splits
from xmc.data.tables import label_table_to_arrow, query_table_to_arrow
from xmc.errors import DataError, did_you_mean
from xmc.given_paths import given_path
from xmc.store import replaced_folder, write_json

FormatName = Literal["auto", "jsonl", "csv", "parquet", "xmc", "beir", "trec", "huggingface"]
REPORT_NAME = "import.json"
WRITTEN = frozenset({"labels.parquet", "train.parquet", "dev.parquet", "test.parquet", REPORT_NAME})


class Format(NamedTuple):
    """One format: how to recognise a folder, how to open it, and the files it is made of."""

    recognise: Callable[[Path], bool]
    open: Callable[[Path, Tally], Source]
    expected: str


FORMATS: dict[str, Format] = {
    "huggingface": Format(is_huggingface, open_huggingface, HUGGINGFACE_FILES),
    "beir": Format(is_beir, open_beir, BEIR_FILES),
    "jsonl": Format(is_jsonl, open_jsonl, JSONL_FILES),
    "csv": Format(is_spreadsheet, open_spreadsheet, SPREADSHEET_FILES),
    "parquet": Format(is_parquet, open_parquet, PARQUET_FILES),
    "trec": Format(is_trec, open_trec, TREC_FILES),
    "xmc": Format(is_repository, open_repository, REPOSITORY_FILES),
}


def import_dataset(
    source: Path, out: Path, *, format: FormatName = "auto", on_bad_row: OnBadRow = "error", overwrite: bool = False
) -> ImportReport:
    """Turn a data set in another format into a folder that `load_dataset` opens, with the report in `import.json`.

    A bad row stops the import as `file:row: reason`, or is skipped and counted with `on_bad_row="skip"`. The folder
    appears whole or not at all; `overwrite` replaces an earlier import, never other files.
    Raises: DataError for an unknown format, missing or damaged files, bad rows, and an output folder in use.
    """
    source, out = given_path(source, name="source"), given_path(out, name="out")
    name, chosen = _choose(source, format)
    _check_out(out, overwrite=overwrite)
    tally = Tally(on_bad_row)
    opened = chosen.open(source, tally)
    for file in unread_splits(source, opened.splits):
        opened.notes.append(f"{file} is not imported: expected {chosen.expected}")
    dataset = _read(opened, tally, out.name)
    advice = recipe_advice(dataset.train, dataset.labels.texts)
    told = (
        nothing_to_tell_apart(dataset.labels, dataset.train), ids_read_as_numbers(dataset.labels),
        advice.reason if advice else "",
    )  # fmt: skip
    report = ImportReport(
        str(source), str(out), name, tally.tables, tally.unknown_label_ids, tally.merged_positives,
        dataset.fingerprint, (*dataset.notes, *filter(None, told)), shared_by(dataset),
        advice.recipe if advice else "",
    )  # fmt: skip
    _write(dataset, report, out)
    return report


def _choose(source: Path, format_name: str) -> tuple[str, Format]:
    if source.is_file():
        raise DataError(
            f"{source} is a file; a folder is imported, in which each file says by its name what it holds.",
            hint="Give its folder: train.csv or train.jsonl in it is enough. Other formats: --format",
        )
    if not source.is_dir():
        raise DataError(f"there is no folder {source.absolute()} to import.")
    if format_name in FORMATS:
        return format_name, FORMATS[format_name]
    if format_name != "auto":
        raise DataError(
            f"unknown format '{format_name}', allowed: auto, {', '.join(FORMATS)}.",
            hint=did_you_mean(format_name, FORMATS),
        )
    found = [name for name, candidate in FORMATS.items() if candidate.recognise(source)]
    if not found:
        raise DataError(
            f"{source} is in no known format: it holds {contents_of(source)}; wanted are {_nearest(source)}.",
            hint=_other_formats(source),
        )
    if len(found) > 1 and found[0] != "huggingface":  # its labels may stand in labels.jsonl
        raise DataError(f"{source} could be {' or '.join(found)}.", hint=f"Say which: --format {found[0]}")
    return found[0], FORMATS[found[0]]


def _nearest(source: Path) -> str:
    """The files of the simplest format, and that is CSV where there are such files."""
    is_csv = any(suffix in path.name.lower() for path in source.glob("*") for suffix in (".csv", ".tsv"))
    return SPREADSHEET_FILES if is_csv else JSONL_FILES


def _other_formats(source: Path) -> str:
    if list(source.glob("labels.parquet")) or list(source.glob("labels.arrow")):
        return (
            f"Tables of this form need no import, if their columns are as docs/data.md says: xmc train --data {source}"
        )
    cases = [differs_by_case(source, candidate.expected) for candidate in FORMATS.values()]
    if found := [sentence for sentence in cases if sentence]:
        return found[0]
    shown = _nearest(source)
    others = ", ".join(name for name, candidate in FORMATS.items() if candidate.expected != shown)
    told = f"Other formats are {others}: with --format NAME it is told what one of them lacks."
    return f"{what_to_do(source)} {told}".strip()


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, expected a folder to write to.")
    present = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if present and not overwrite:
        raise DataError(f"{out} is not empty.", hint="Choose another folder, or replace it with --overwrite.")
    if foreign := [name for name in present if name not in WRITTEN]:
        raise DataError(
            f"{out} holds {', '.join(foreign[:5])}, which no import wrote: it is not replaced.",
            hint="Choose another folder.",
        )


def _read(source: Source, tally: Tally, name: str) -> Dataset:
    labels = collect_labels(source.labels, tally)
    label_row = {label_id: row for row, label_id in enumerate(labels.ids)}
    splits = {
        split: collect_queries(rows, label_row, split=split, tally=tally, label_texts=labels.texts)
        for split, rows in source.splits.items()
    }
    return Dataset(name, labels, splits, fingerprint_of(labels, splits), tuple(source.notes))


def _write(dataset: Dataset, report: ImportReport, out: Path) -> None:
    with replaced_folder(out) as folder:
        write_table(folder / "labels.parquet", label_table_to_arrow(dataset.labels))
        for split, queries in dataset.splits.items():
            write_table(folder / f"{split}.parquet", query_table_to_arrow(queries))
        write_json(folder / REPORT_NAME, report.to_dict())
