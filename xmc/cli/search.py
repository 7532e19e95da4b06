"""`xmc search`: one text from the command line, or a table of queries to a table of hits."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from xmc.cli.options import AllowedOption, DeviceOption, JsonOption, ProbabilityOption, RunOption
from xmc.cli.predict import allowed_by_option, predict_and_show
from xmc.errors import ConfigError, DataError, XmcError

if TYPE_CHECKING:
    from xmc.values import Hit

LONGEST_TEXT = 300  # characters of a label's text in a table, where a passage would take a page


def search_command(
    run: RunOption,
    text: Annotated[str | None, typer.Argument(help="The query; - reads one a line from standard input.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many labels.")] = 10,
    queries: Annotated[
        list[str] | None,
        typer.Option("--queries", help="Short for xmc predict --workers 1 --shards; may be repeated."),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="Folder or URL for the hits of --queries.")] = None,
    min_probability: ProbabilityOption = None,
    allow: Annotated[list[str] | None, typer.Option("--allow", help="Only this label id; may be repeated.")] = None,
    allowed: AllowedOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the best labels for a text.

    Example: xmc search "heart attack" --run runs/icd -k 5
    Example: xmc search - --run runs/icd < queries.txt
    """
    if (text is None) == (not queries):
        raise ConfigError(
            "give either a text or --queries.",
            hint="Put the pattern in quotes, so that the shell leaves it as it is: --queries '*.parquet'."
            if text is not None and os.path.exists(text)  # noqa: PTH110 - never raises, however long
            else 'Example: xmc search "heart attack" --run runs/icd',
        )
    if queries and out is None:
        raise ConfigError("--queries needs --out, the folder for the hits.")
    if text is not None and out is not None:
        raise ConfigError("--out is for the hits of --queries; those of a text are printed.")
    allowed_ids = _allowed_ids(allow, allowed)
    if queries and out is not None:
        with _naming_predict():
            predict_and_show(
                run,
                queries,
                out,
                k=k,
                min_probability=min_probability,
                workers=1,
                allowed=allowed_ids,
                device=device,
                as_json=as_json,
            )
        return
    assert text is not None
    from xmc.cli.output import print_json, print_notes, warnings_as_notes
    from xmc.retrieve.retriever import Retriever

    with warnings_as_notes() as notes:
        retriever = Retriever.load(run, device=device)
    print_notes(notes)
    with allowed_by_option():
        label_filter = None if allowed_ids is None else retriever.filter(allowed_ids)
    texts = _lines(sys.stdin) if text == "-" else [text]
    with warnings_as_notes() as notes:
        answers = retriever.search(texts, k=k, min_probability=min_probability, allowed=label_filter)
    print_notes(notes)
    if as_json:
        found = [_facts(query, k, hits) for query, hits in zip(texts, answers, strict=True)]
        print_json(found if text == "-" else found[0])
        return
    for query, hits in zip(texts, answers, strict=True):
        _print_answer(query, hits, min_probability)


@contextlib.contextmanager
def _naming_predict() -> Iterator[None]:
    """Let an error that advises an option say whose it is, for `--queries` has few of them."""
    try:
        yield
    except XmcError as error:
        if any(option in error.hint for option in ("--overwrite", "--redo-changed", "--moved", "--skip-failed")):
            error.hint += " These are options of xmc predict: write --workers 1 --shards in place of --queries."
        raise


def _lines(file: TextIO) -> list[str]:
    """The lines that are not blank. Raises: ConfigError when there is none, DataError when they are not text."""
    try:
        texts = [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not {error.encoding.upper()}: {error.reason}.") from None
    if not texts:
        raise ConfigError(
            "standard input has no line with a query.", hint="Example: xmc search - --run R < queries.txt"
        )
    return texts


def _allowed_ids(allow: list[str] | None, allowed: Path | None) -> list[str] | None:
    """The ids of both options, None when neither is given."""
    from xmc.data.label_files import read_id_file

    if not allow and allowed is None:
        return None
    return [*(allow or ()), *(read_id_file(allowed) if allowed else ())]


def _facts(query: str, k: int, hits: Sequence[Hit]) -> dict[str, Any]:
    return {"query": query, "k": k, "hits": [hit._asdict() for hit in hits]}


def _print_answer(query: str, hits: Sequence[Hit], min_probability: float | None) -> None:
    if hits:
        _print_hits(hits, query)
    elif min_probability is None:
        typer.echo("no label is allowed")
    else:
        typer.echo(f"no label is relevant to '{query}' with a probability of {min_probability} or more")


def _print_hits(hits: Sequence[Hit], text: str) -> None:
    from xmc.cli.output import print_table

    rows = []
    for hit in hits:
        row = {"rank": hit.rank, "label": hit.label_id, "score": f"{hit.score:.4f}"}
        if hit.probability is not None:
            row["probability"] = f"{hit.probability:.3f}"
        shown = hit.text if len(hit.text) <= LONGEST_TEXT else f"{hit.text[:LONGEST_TEXT]}…"  # --json has all of it
        rows.append({**row, "text": shown})
    print_table(rows, title=text, right=("rank", "score", "probability"))
