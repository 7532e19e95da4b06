"""`xmc search`: one text from the command line, or a table of queries to a table of hits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption
from xmc.errors import ConfigError, DataError

if TYPE_CHECKING:
    from xmc.retrieve.label_filter import LabelFilter
    from xmc.retrieve.retriever import Retriever
    from xmc.values import Hit


def search_command(
    run: RunOption,
    text: Annotated[str | None, typer.Argument(help="The query.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many labels.")] = 10,
    queries: Annotated[str, typer.Option("--queries", help="Instead of a text: Parquet or Arrow files (glob).")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the hits of --queries.")] = None,
    min_probability: Annotated[
        float | None, typer.Option("--min-probability", help="Leave out hits less likely relevant; see: xmc check.")
    ] = None,
    allow: Annotated[list[str] | None, typer.Option("--allow", help="Only this label id; may be repeated.")] = None,
    allowed: Annotated[
        Path | None,
        typer.Option("--allowed", help="Only the label ids of this file: one a line, JSON lines or Parquet."),
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Find the best labels for a text.

    Example: xmc search "heart attack" --run runs/icd -k 5
    """
    from xmc.retrieve.retriever import Retriever

    if (text is None) == (not queries):
        raise ConfigError("give either a text or --queries.", hint='Example: xmc search "heart attack" --run runs/icd')
    if queries and out is None:
        raise ConfigError("--queries needs --out, the folder for the hits.")
    if text is not None and out is not None:
        raise ConfigError("--out is for the hits of --queries; those of a text are printed.")
    retriever = Retriever.load(run, device=device)
    for sentence in [*retriever.fitted.stale(), *retriever.fitted.notes]:
        typer.echo(f"note: {sentence}", err=True)
    label_filter = _filter(retriever, allow, allowed)
    if text is not None:
        _search_one(retriever, text, k, min_probability, label_filter, as_json)
    elif out is not None:
        _search_shards(retriever, queries, out, k, min_probability, label_filter, as_json)


def _filter(retriever: Retriever, allow: list[str] | None, allowed: Path | None) -> LabelFilter | None:
    from xmc.data.label_files import read_id_file

    if not allow and allowed is None:
        return None
    return retriever.filter([*(allow or ()), *(read_id_file(allowed) if allowed else ())])


def _search_one(
    retriever: Retriever,
    text: str,
    k: int,
    min_probability: float | None,
    label_filter: LabelFilter | None,
    as_json: bool,
) -> None:
    from xmc.cli.output import print_json

    hits = retriever.search([text], k=k, min_probability=min_probability, allowed=label_filter)[0]
    if as_json:
        print_json({"query": text, "k": k, "hits": [hit._asdict() for hit in hits]})
    elif hits:
        _print_hits(hits, text)
    elif min_probability is None:
        typer.echo("no label is allowed")
    else:
        typer.echo(f"no label is relevant to '{text}' with a probability of {min_probability} or more")


def _print_hits(hits: Sequence[Hit], text: str) -> None:
    from xmc.cli.output import print_table

    rows = []
    for hit in hits:
        row = {"rank": hit.rank, "label": hit.label_id, "score": f"{hit.score:.4f}"}
        if hit.probability is not None:
            row["probability"] = f"{hit.probability:.3f}"
        rows.append({**row, "text": hit.text})
    print_table(rows, title=text, right=("rank", "score", "probability"))


def _search_shards(
    retriever: Retriever,
    pattern: str,
    out: Path,
    k: int,
    min_probability: float | None,
    label_filter: LabelFilter | None,
    as_json: bool,
) -> None:
    from xmc.cli.output import print_json
    from xmc.data.shards import find_shards
    from xmc.retrieve.batch import judged_texts, write_hits

    done = []
    for shard, path in _pair_with_outputs(find_shards(pattern), out):
        ids, texts = _read_queries(shard)
        try:
            hits, probabilities_H = judged_texts(
                retriever, texts, k=k, min_probability=min_probability, allowed=label_filter
            )
        except DataError as error:
            raise DataError(f"{shard}: {error.message}", hint=error.hint) from None
        write_hits(path, ids, hits, retriever.labels, probabilities_H)
        done.append({"queries": str(shard), "hits": str(path), "count": len(texts)})
        if not as_json:
            typer.echo(f"{shard} -> {path}: {len(texts):,} queries")
    if as_json:
        print_json({"k": k, "shards": done})


def _pair_with_outputs(shards: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Each file of queries with the file of its hits, which must be its own and nobody's input."""
    pairs = [(shard, out / f"{shard.stem}.parquet") for shard in shards]
    inputs = {shard.resolve() for shard in shards}
    taken: dict[Path, Path] = {}
    for shard, path in pairs:
        if path.resolve() in inputs:
            raise ConfigError(f"the hits of {shard} would overwrite queries in {out}.", hint="Give another --out.")
        if path in taken:
            raise ConfigError(
                f"{taken[path]} and {shard} would both write {path}.",
                hint="Search them one by one, with an --out each.",
            )
        taken[path] = shard
    return pairs


def _read_queries(shard: Path) -> tuple[list[str], list[str]]:
    """Ids (numbers as text) and texts of a table."""
    from xmc.data.shards import read_table

    table = read_table(shard)
    if missing := {"query_id", "text"} - set(table.column_names):
        raise DataError(f"{shard}: column '{min(missing)}' is missing.", hint="--queries needs query_id and text.")
    ids = table.column("query_id").to_pylist()
    for row, query_id in enumerate(ids):
        if not isinstance(query_id, (str, int)) or query_id == "":
            raise DataError(f"{shard}: query_id is {query_id!r} in row {row}; it must be a text or a whole number.")
    return [str(query_id) for query_id in ids], table.column("text").to_pylist()
