"""`xmc rerank`: fit the second stage of a run anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from xmc.cli.options import DeviceOption, JsonOption, RunOption, SettingsOption


def rerank_command(
    run: RunOption, settings: SettingsOption = None, device: DeviceOption = "auto", as_json: JsonOption = False
) -> None:
    """Fit a second stage that scores the shortlist again, over the encoder and index that are there.

    With `reranker.name=none` and `fusion.prior=0` the run has none any more.

    Example: xmc rerank --run runs/acts --set reranker.name=linear.one-vs-rest

    Example: xmc rerank --run runs/acts --set fusion.prior=auto
    """
    from xmc.cli.bar import CountDisplay
    from xmc.cli.output import print_json, print_notes, warnings_as_notes
    from xmc.engine.verbs import rerank_run

    with warnings_as_notes() as notes, CountDisplay(quiet=as_json) as display:
        report = rerank_run(run, settings=settings or (), device=device, on_progress=display.count)
    if as_json:
        print_json({**report, "notes": notes})
        return
    typer.echo(reranked_line(report))
    print_notes(notes)


def reranked_line(report: Mapping[str, Any]) -> str:
    """One line on a fitted second stage, or on why there is none."""
    chosen = report["chosen"]
    gain = f", nDCG on dev {chosen['ndcg_first']:.4f} -> {chosen['ndcg_fused']:.4f}" if chosen else ""
    parts = [] if report["reranker"] == "none" else [f"weight {report['weight']:.3g}"]
    parts += [f"prior {report['prior']:.3g}"] if report["prior"] else []
    if not parts:
        return "searches go without a second stage: there is no reranker, and the prior is 0"
    named = "the prior" if report["reranker"] == "none" else report["reranker"]
    return f"fitted {named} in {report['fit_s']:.0f} s: {' and '.join(parts)} over the best {report['depth']}{gain}"
