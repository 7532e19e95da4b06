"""`xmc teach`: let a teacher score the training queries of a data set, once, for students to learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xmc.cli.options import DeviceOption, JsonOption, SettingsOption
from xmc.counted import counted
from xmc.errors import quoted


def teach_command(
    teacher: Annotated[str, typer.Option("--teacher", help="A sentence-transformers folder, or a trained run.")],
    data: Annotated[str, typer.Option("--data", help="Shipped data set (icd10cm, tiny) or a folder.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for scores and label vectors.")],
    k: Annotated[int, typer.Option("-k", help="Labels on the shortlist of each query.")] = 100,
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Let a teacher score the training queries of a data set, for `xmc train --plugin distill`.

    `--set encoder.max_tokens=128` and other options of the encoder sentence-transformers are for a model folder.

    Example: xmc teach --teacher models/minilm --data icd10cm --out teachers/minilm
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json
    from xmc.engine.verbs import teach

    with CountDisplay(quiet=as_json) as display:
        report = teach(teacher, data, out, k=k, settings=settings or (), device=device, on_progress=display.count)
    if as_json:
        print_json({"out": str(out), **report.to_dict()})
        return
    typer.echo(
        f"{counted(report.queries, 'query')}, {counted(report.k, 'label')} each, {report.recall:.1%} of "
        "the positives among them"
    )
    vectors = (
        f"{counted(report.labels, 'label vector')} of width {report.dimension}"
        if report.dimension
        else "no label vectors"
    )
    typer.echo(f"{vectors}; written: {out}")
    typer.echo(f"next: xmc train --plugin distill --data {quoted(data)} --out RUN --set teacher.path={quoted(out)}")
