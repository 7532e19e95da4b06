"""`xmc train`: train a run, then build its index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmc.cli.options import ConfigOption, DataOption, JsonOption, PluginOption, SettingsOption
from xmc.cli.plugin_file import note_on_unused_file
from xmc.cli.rerank import reranked_line
from xmc.errors import ConfigError, quoted

TIME = (
    "time: not estimated, for only real steps tell, and these need the memory above. The training shows the time that "
    "is left after its first steps; Ctrl-C stops it with a checkpoint, from which --resume goes on"
)

if TYPE_CHECKING:
    from xmc.cli.progress import TrainingDisplay
    from xmc.data.dataset import Dataset
    from xmc.engine.run_config import RunConfig
    from xmc.plugin_manager import Plugins
    from xmc.train.plan import Plan


def train_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run to make.")],
    data: DataOption = "",
    plugin: PluginOption = "dexml",
    config: ConfigOption = None,
    settings: SettingsOption = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Short for --set train.epochs=N.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Short for --set train.seed=N.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out by a new one.")] = False,
    plan_only: Annotated[
        bool, typer.Option("--dry-run", help="Check configuration and data, print them and the plan, and stop.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a dual encoder on texts and labels, and index the labels.

    Example: xmc train --plugin dexml --data icd10cm --out runs/icd
    """
    from xmc.cli.allocator import keep_freed_memory
    from xmc.cli.output import print_json
    from xmc.cli.progress import TrainingDisplay
    from xmc.engine.recipe_choice import settle_recipe
    from xmc.engine.replacement import configuration_to_resume
    from xmc.engine.run_config import resolve
    from xmc.engine.whole_run import make_run
    from xmc.plugin_manager import load_plugins
    from xmc.train.process_group import is_first_process

    plugins = load_plugins()
    named = {"epochs": epochs, "seed": seed, "device": device}
    flags: dict[str, Any] = {"train": {key: value for key, value in named.items() if value is not None}}
    if data:
        flags["data"] = {"name": data}
    source = context.get_parameter_source("plugin")
    is_named = config is not None or (source is not None and source.name == "COMMANDLINE")
    if resume and not is_named and (of_run := configuration_to_resume(out)):
        config, plugin = of_run, ""  # a resumed run goes on as it was configured; one that is named must be the same
    is_default = plugin != "" and not is_named
    plugin, why = settle_recipe(plugin, config_file=config, settings=settings or (), flags=flags)
    if why and not as_json and is_first_process():
        typer.echo(f"note: {why}", err=True)  # now, since an error of the recipe would else name what nobody asked for
    resolved = resolve(plugins, plugin=plugin, config_file=config, settings=settings or (), flags=flags)
    if resume and not resolved.data.name and configuration_to_resume(out) is None:
        raise ConfigError(
            f"there is no run in {out} to go on with.", hint="Is it the right folder? For a new training give --data."
        )
    unused = note_on_unused_file(plugins, resolved.to_dict())
    if plan_only:
        _print_plan(resolved, plugins, advise=is_default, as_json=as_json, unused=unused)
        return
    keep_freed_memory()
    begins = resume and configuration_to_resume(out) is None
    with TrainingDisplay(quiet=as_json or not is_first_process()) as display:

        def show_plan(plan: Plan, found: Dataset) -> None:  # when nothing was refused
            if begins:
                display.say(f"note: there is no run in {out} to go on with: a new training begins")
            display.show_plan(plan, found)
            _say_notes(display, found, unused, advise=is_default)

        report = make_run(
            resolved,
            out,
            plugins=plugins,
            resume=resume,
            overwrite=overwrite,
            reporter=display,
            on_plan=show_plan,
            say=display.say,
            progress=display.count,
        )
    if not is_first_process():
        return
    if as_json:
        print_json({**report, "run": str(out)})
    else:
        _print_end(out, report)


def _print_plan(config: RunConfig, plugins: Plugins, *, advise: bool, as_json: bool, unused: str) -> None:
    """The configuration to standard output, what comes of it with the data to the error stream; or both as JSON."""
    from xmc.cli.output import print_json
    from xmc.cli.progress import TrainingDisplay
    from xmc.engine.run_config import template
    from xmc.engine.training import plan_training
    from xmc.engine.whole_run import require_devices

    if not as_json:
        typer.echo(template(config, plugins))
    require_devices(config)
    data, plan = plan_training(config, plugins=plugins)
    if as_json:
        print_json({"config": config.to_dict(), "plan": plan.to_dict() if plan else None})
        return
    with TrainingDisplay() as display:
        if plan:
            display.show_plan(plan, data)
            if plan.steps:
                display.say(TIME)
        else:
            display.show_data(data)
        _say_notes(display, data, unused, advise=advise)


def _say_notes(display: TrainingDisplay, data: Dataset, unused: str, *, advise: bool) -> None:
    """Say what of a plugin file is not used, and which recipe suits the data better than the default one."""
    from xmc.data.recipe_advice import recipe_advice

    advice = recipe_advice(data.train, data.labels.texts) if advise else None
    for note in filter(None, [unused, advice.reason if advice else ""]):
        display.say(f"note: {note}")


def _print_end(out: Path, report: Mapping[str, Any]) -> None:
    best = report["best_validation_p1"]
    score = f"validation P@1 {best:.4f} after epoch {report['best_epoch']}, " if best >= 0 else ""
    if "rerank" in report:
        typer.echo(reranked_line(report["rerank"]))
    seen = f"loss curve in {out / 'curve.png'} and curve.csv" if "plan" in report else f"report in {out / 'train.json'}"
    done = f"trained in {report['train_s']:.0f} s" if report["epochs_run"] else "taken as it is, not trained"
    done += f", stopped early after epoch {report['epochs_run']}" if report.get("stopped_early") else ""
    typer.echo(f"{done}: {score}{seen}")
    evaluate = f"xmc evaluate --run {quoted(out)}    "
    if "test" not in report["splits"]:
        evaluate = f"xmc evaluate --run {quoted(out)} --split dev    " if "dev" in report["splits"] else ""
    typer.echo(f'next: {evaluate}xmc search "some text" --run {quoted(out)}')
