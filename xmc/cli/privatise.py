"""`xmc privatise`: row labels into noisy bag labels with a receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xmc.cli.options import JsonOption
from xmc.cli.output import print_json
from xmc.counted import counted
from xmc.errors import quoted


def privatise_command(
    data: Annotated[
        str, typer.Option("--data", help="Data set whose training labels are private: a name or a folder.")
    ],
    epsilon: Annotated[
        str, typer.Option("--epsilon", help="Privacy bound, as 1, 0.5 or 1/3; smaller is more private.")
    ],
    bag_size: Annotated[int, typer.Option("--bag-size", help="Queries in a bag.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write: labels, train and the receipt privacy.json.")],
    clip: Annotated[int, typer.Option("--clip", help="Labels of a query that count, drawn from its own.")] = 1,
    threshold: Annotated[int, typer.Option("--threshold", help="Leave out noisy counts of at most so many.")] = 0,
    group_prefix: Annotated[
        int,
        typer.Option("--group-prefix", help="Join labels whose ids begin with the same so many characters."),
    ] = 0,
    public: Annotated[
        list[str] | None, typer.Option("--public", help="A split whose row labels anyone may see: copied as it is.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Release noisy labels of bags of queries instead of their own: epsilon-label privacy, with a receipt.

    Example: xmc privatise --data icd10cm --group-prefix 1 --epsilon 1 --bag-size 4 --out private
    """
    from xmc.privacy.privatise import privatise

    receipt = privatise(
        data,
        out,
        epsilon=epsilon,
        bag_size=bag_size,
        clip=clip,
        threshold=threshold,
        group_prefix=group_prefix,
        public=public or (),
    )
    if as_json:
        print_json(receipt)
    else:
        typer.echo("\n".join(lines_of(receipt, out)))


def lines_of(receipt: dict[str, Any], out: Path) -> list[str]:
    """The receipt in short, for people."""
    return [
        f"{out}: {counted(receipt['queries'], 'query')} in {counted(receipt['bags'], 'bag')} of {receipt['bag_size']},"
        f" {counted(receipt['labels'], 'label')}, epsilon {receipt['epsilon']} for the labels of each query",
        f"  noise on every count: standard deviation {receipt['noise_standard_deviation_of_counts']:.3g}; a label that"
        f" all queries of a bag have counts {receipt['bag_size']}",
        *(f"  released with row labels: {split}" for split in receipt["released_with_row_labels"]),
        *(f"  not promised: {each}" for each in receipt["not_promised"]),
        f"Train on it: xmc train --plugin aggregate --data {quoted(out)}",
    ]
