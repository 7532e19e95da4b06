"""`xmc search`: one text from the command line, or a table of queries to a table of hits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption
from xmc.errors import ConfigError, DataError

if TYPE_CHECKING:
    from xmc.retrieve.retriever import Retriever


def search_command(
    run: RunOption,
    text: Annotated[str | None, typer.Argument(help="The query.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many labels.")] = 10,
    queries: Annotated[str, typer.Option("--queries", help="Instead of a text: Parquet or Arrow files (glob).")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the hits of --queries.")] = None,
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
    retriever = Retriever.load(run, device=device)
    if text is not None:
        _search_one(retriever, text, k, as_json)
    elif out is not None:
        _search_shards(retriever, queries, out, k)


def _search_one(retriever: Retriever, text: str, k: int, as_json: bool) -> None:
    from xmc.cli.output import print_json, print_table

    hits = retriever.search([text], k=k)[0]
    if as_json:
        print_json({"query": text, "k": k, "hits": [hit._asdict() for hit in hits]})
    else:
        rows = [{"rank": h.rank, "label": h.label_id, "score": f"{h.score:.4f}", "text": h.text} for h in hits]
        print_table(rows, title=text, right=("rank", "score"))


def _search_shards(retriever: Retriever, pattern: str, out: Path, k: int) -> None:
    from xmc.data.shards import find_shards, read_table
    from xmc.retrieve.batch import search_texts, write_hits

    for shard in find_shards(pattern):
        table = read_table(shard)
        if missing := {"query_id", "text"} - set(table.column_names):
            raise DataError(f"{shard}: column '{min(missing)}' is missing.", hint="--queries needs query_id and text.")
        texts, ids = table.column("text").to_pylist(), table.column("query_id").to_pylist()
        path = out / f"{shard.stem}.parquet"
        write_hits(path, ids, search_texts(retriever, texts, k=k), retriever.labels)
        typer.echo(f"{shard} -> {path}: {len(texts):,} queries")
