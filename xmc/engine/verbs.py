"""The verbs for use from Python: `xmc.train_run`, `xmc.index_run`, `xmc.rerank_run`, `xmc.evaluate_run`, …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xmc.choose.judge import ChooseOptions
from xmc.choose.log import read_log
from xmc.choose.report import ChoiceReport
from xmc.config import Settings, parse_assignments
from xmc.data.dataset import load_dataset
from xmc.engine.beside_committed import beside_committed
from xmc.engine.check_report import ChecksReport
from xmc.engine.checking import run_checks
from xmc.engine.choosing import choose, write_choice
from xmc.engine.devices import choose_device
from xmc.engine.diagnosing import Diagnosed, diagnose_head, write_diagnosis
from xmc.engine.evaluation import run_evaluation
from xmc.engine.exporting import ExportReport, run_export
from xmc.engine.indexing import run_indexing
from xmc.engine.model_card import write_card
from xmc.engine.progress import Progress, given_progress, say_nothing
from xmc.engine.recipe_choice import settle_recipe
from xmc.engine.report_folder import require_report_folder
from xmc.engine.reranking import committed_settings, run_reranking, warn_of_other_moves, warn_of_other_settings
from xmc.engine.run_config import read_run_config, resolve
from xmc.engine.scaling import BUDGET, Scaled, require_one_target, scale_ladder, scale_runs, write_scale
from xmc.engine.teaching import TeachingReport, run_teaching
from xmc.engine.tuning import Tuned, run_tuning
from xmc.engine.verb_settings import settings_for
from xmc.engine.whole_run import make_run
from xmc.errors import ConfigError, DataError
from xmc.evaluate.report import EvaluationReport
from xmc.given_names import given_name, given_names
from xmc.given_numbers import any_number, true_or_false, whole_number
from xmc.given_paths import given_path, given_place, given_runs
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.run_state import fitted_now
from xmc.tune.goal import Goal
from xmc.values import IndexReport


def train_run(
    data: str | Path,
    out: str | Path,
    *,
    plugin: str = "dexml",
    settings: Settings = (),
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train on a data set (shipped name or folder) into the folder `out`, build its index, return the report.

    `plugin` is a recipe by name, or `auto` for the one that suits the data (docs/recipes.md). `settings` are
    `section.key=value` strings, as for `xmc train --set`, or values by name: `{"train.epochs": 2}`.
    Raises: ConfigError, DataError, PluginError; InterruptedRunError after a signal.
    """
    resume, overwrite = true_or_false(resume, name="resume"), true_or_false(overwrite, name="overwrite")
    plugins = load_plugins()
    flags = {"data": {"name": _data_name(data)}}
    recipe, _ = settle_recipe(plugin, settings=settings, flags=flags)
    config = resolve(plugins, plugin=recipe, settings=settings, flags=flags)
    return make_run(config, given_path(out, name="out"), plugins=plugins, resume=resume, overwrite=overwrite)


def _data_name(data: str | Path) -> str:
    if not isinstance(data, (str, Path)):
        raise DataError(
            f"data must be the name of a shipped data set or its folder, got {type(data).__name__}.",
            hint="Of a data frame with the columns text and labels: df.to_parquet('my-data/train.parquet'), and then "
            "xmc import my-data --out data/mine",
        )
    return str(data)


def index_run(
    run: str | Path,
    *,
    settings: Settings = (),
    device: str = "auto",
    target_recall: float | None = None,
    memory_bytes: int | None = None,
    latency_s: float | None = None,
    k: int = 10,
    batch_size: int = 64,
    seed: int = 0,
) -> IndexReport:
    """Build the index of a run anew: with `index.key=value` settings over those of the run, or chosen by goal.

    `target_recall` (at `k`, against exact search) asks for the fastest index that reaches it in batches of
    `batch_size`. `memory_bytes` and `latency_s` (median time for one query) are limits; without a target recall the
    index with the best recall within them is chosen. `report.choice` says what it reaches. In both cases the run keeps
    the backend and its options: a later call without settings builds the same again. `data.name=FOLDER` says where
    the data set lies today. An XmcWarning says so when probabilities or label sets were fitted to an index that
    answers differently, or the second stage to labels that were moved otherwise.
    Raises: ConfigError when no index serves the goal, and for settings of other sections.
    """
    if target_recall is None and memory_bytes is None and latency_s is None:
        return _index_named(given_path(run, name="run"), settings, device=device)
    goal = Goal(target_recall, memory_bytes, latency_s, k, batch_size)
    return tune_run(run, goal, settings=settings, device=device, seed=seed).index


def _index_named(run: Path, settings: Settings, *, device: str) -> IndexReport:
    chosen = settings_for("xmc index", settings, takes=["index", "labels"])
    plugins = load_plugins()
    config = read_run_config(plugins, run, settings=chosen)
    report = run_indexing(config, run, plugins=plugins, device=device)
    if chosen.keys() & {"index", "labels"}:
        with beside_committed(run, "index"):
            replace(read_run_config(plugins, run), index=config.index, labels=config.labels).write(run)
    write_card(run, plugins=plugins)
    warn_of_other_moves(run)
    fitted_now(run).warn()
    return report


def tune_run(
    run: str | Path,
    goal: Goal,
    *,
    settings: Settings = (),
    device: str = "auto",
    seed: int = 0,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Tuned:
    """Choose the index of a run by goal, as `index_run` does, and return everything that was measured.

    With `dry_run` the run stays as it is.
    Raises: ConfigError when no index serves the goal, and for any settings: the choice replaces those of [index].
    """
    for section, values in parse_assignments(settings).items():
        raise ConfigError(
            f"an index is chosen by goal with the run's own settings, got {section}.{min(values)}.",
            hint="Give a goal, or name an index with --set index.name=NAME, not both.",
        )
    dry_run = true_or_false(dry_run, name="dry_run")
    plugins, folder = load_plugins(), given_path(run, name="run")
    config = read_run_config(plugins, folder)
    progress = given_progress(on_progress)
    tuned = run_tuning(
        config, folder, goal, plugins=plugins, device=device, seed=seed, dry_run=dry_run, progress=progress
    )
    if not dry_run:
        write_card(folder, plugins=plugins)
        warn_of_other_moves(folder)
        fitted_now(folder).warn()
    return tuned


def rerank_run(
    run: str | Path, *, settings: Settings = (), device: str = "auto", on_progress: Progress | None = None
) -> dict[str, Any]:
    """Fit the second stage of a run anew, with `reranker.key=value` and `fusion.key=value` settings over its own.

    The run keeps these settings: a later call without any fits the same again. With `reranker.name=none` and
    `fusion.prior=0` it has no second stage any more. `data.name=FOLDER` says where the data set lies today. An
    XmcWarning says which probabilities and label sets were fitted to the scores before; another one, that `config.toml`
    has other settings than the second stage that is there, which win. Raises: ConfigError for settings of other
    sections.
    """
    chosen = settings_for("xmc rerank", settings, takes=["reranker", "fusion"])
    plugins, folder = load_plugins(), given_path(run, name="run")
    config = read_run_config(plugins, folder, settings=chosen, committed=committed_settings(folder))
    warn_of_other_settings(config, read_run_config(plugins, folder, settings=chosen), folder)
    report = run_reranking(config, folder, plugins=plugins, device=device, progress=given_progress(on_progress))
    with beside_committed(folder, "rerank"):
        before = read_run_config(plugins, folder)
        kept = replace(before, reranker=config.reranker, fusion=config.fusion)
        if kept != before:
            kept.write(folder)
    fitted_now(folder).warn()
    return report


def evaluate_run(
    run: str | Path,
    *,
    split: str = "test",
    settings: Settings = (),
    device: str = "auto",
    on_progress: Progress | None = None,
    beside: str | Path | None = None,
) -> EvaluationReport:
    """Evaluate a run on a split of its data set, with `evaluate.key=value` settings over those of the run.

    `beside` is another run, asked the same queries: `report.beside` has its figures, and how much larger those of this
    run are, with paired intervals.
    `data.name=FOLDER` says where the data set lies today; where it is not what the run was trained on, `report.notes`
    say so. Raises: ConfigError for settings of other sections.
    """
    chosen = settings_for("xmc evaluate", settings, takes=["evaluate"])
    plugins, folder = load_plugins(), given_path(run, name="run")
    config = read_run_config(plugins, folder, settings=chosen)
    progress = given_progress(on_progress)
    other = None if beside is None else given_path(beside, name="beside")
    return run_evaluation(
        config, folder, plugins=plugins, split=split, device=device, on_progress=progress, beside=other
    )


def teach(
    teacher: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    k: int = 100,
    settings: Settings = (),
    device: str = "auto",
    on_progress: Progress | None = None,
) -> TeachingReport:
    """Let a sentence-transformers folder or a trained run score the training queries of a data set, into a new folder.

    That folder is the `teacher.path` of a student. `settings` are `encoder.key=value` strings for a model folder.
    Raises: ConfigError, DataError, ArtifactError; nothing is written then.
    """
    chosen = parse_assignments(settings)
    others = sorted(set(chosen) - {"encoder"})
    if others:
        raise ConfigError(
            f"the settings of a teacher are those of [encoder], got [{others[0]}].",
            hint="Example: --set encoder.max_tokens=128",
        )
    return run_teaching(
        str(teacher),
        load_dataset(_data_name(data)),
        given_path(out, name="out"),
        k=k,
        device=device,
        plugins=load_plugins(),
        settings=chosen.get("encoder", {}),
        on_progress=given_progress(on_progress),
    )


def export_run(run: str | Path, out: str | Path, *, format: str = "onnx") -> ExportReport:
    """Export the text encoder of a run into the new folder `out`, after comparing it with the run's own on real texts.

    Raises: ExportError when the embeddings differ, and then nothing is written; ConfigError for an encoder that cannot
    be exported, missing libraries, or an `out` that holds something.
    """
    plugins, folder = load_plugins(), given_path(run, name="run")
    config = read_run_config(plugins, folder)
    wanted = given_name(format, name="format")
    return run_export(config, folder, given_path(out, name="out"), plugins=plugins, format=wanted)


def check_run(
    run: str | Path,
    names: str | Sequence[str] = ("all",),
    *,
    split: str = "test",
    fit_split: str = "",
    settings: Settings = (),
    device: str = "auto",
    on_progress: Progress | None = None,
) -> ChecksReport:
    """Run checks of a run by name (one, or a list), or all, with `check.name.key=value` settings over those of the run.

    `report.refused` lists the checks in `names` that could not be run; `report.passed` says whether there is none and
    every limit of `[check.limits]` is kept. The setting `evaluate.bootstrap_seed` seeds what is drawn at random.
    `data.name=FOLDER` says where the data set lies today; if it is not what the run was trained on, `report.source`
    says so.
    Raises: PluginError for an unknown check; ConfigError for settings of other sections. If a single check is asked for
    and cannot be run, its ConfigError or DataError is raised.
    """
    chosen = settings_for("xmc check", settings, takes=["check", "evaluate.bootstrap_seed"])
    plugins, folder = load_plugins(), given_path(run, name="run")
    config = read_run_config(plugins, folder, settings=chosen)
    return run_checks(
        config,
        folder,
        given_names(names, name="names"),
        plugins=plugins,
        split=split,
        fit_split=given_name(fit_split, name="fit_split"),
        device=device,
        on_progress=given_progress(on_progress),
    )


def choose_run(
    log: str | Path,
    runs: Mapping[str, str | Path],
    *,
    out: str | Path | None = None,
    temperature: float = 0.0,
    estimator: str = "cascade-dr",
    truths: Mapping[str, float] | None = None,
    device: str = "auto",
    seed: int = 0,
    on_progress: Progress | None = None,
) -> ChoiceReport:
    """Judge runs, by name, from the log of what another policy showed; with `out` the report is written there.

    Raises: DataError naming rows of the log that are wrong, and when no run can be judged; ConfigError for options.
    """
    options = ChooseOptions(temperature=temperature, estimator=estimator, seed=seed)
    if out is not None:
        require_report_folder(given_path(out, name="out"), key="behaviour")
    folders = given_runs(runs)
    checked, plugins = read_log(given_place(log, name="log")), load_plugins()
    retrievers = {
        name: Retriever.load(run, device=device, plugins=plugins, warn=False) for name, run in folders.items()
    }
    report = choose(checked, retrievers, options, truths=truths, on_progress=given_progress(on_progress))
    if out is not None:
        write_choice(report, Path(out))
    return report


def scale_run(
    data: str | Path = "",
    out: str | Path | None = None,
    *,
    runs: Mapping[str, str | Path] = MappingProxyType({}),
    plugin: str = "dexml",
    config_file: Path | None = None,
    settings: Settings = (),
    budget: float = BUDGET,
    pairs: int = 0,
    parameters: int = 0,
    seed: int = 0,
    device: str = "auto",
    on_progress: Progress = say_nothing,
) -> Scaled:
    """Predict P@1, validation loss and seconds of a training on `data`, from small trainings below `out`.

    Finished `runs`, by name, can take the place of the small trainings. Then `data` may be left out: `pairs` (seen in
    all epochs together) and `parameters` (0: those of the largest run) describe the run to predict. The report goes to
    `out`.
    Raises: ConfigError when the run to predict is not described, or described in both ways, for options that would have
    no effect, and for small trainings without `out`; DataError for fewer than five runs, or runs of about one size.
    """
    folders, data, on_progress = given_runs(runs), _data_name(data), given_progress(on_progress)
    described = bool(data or config_file or not folders)
    budget, seed = any_number(budget, name="budget"), whole_number(seed, name="seed", least=0)
    pairs, parameters = (
        whole_number(value, name=name, least=0) for name, value in (("pairs", pairs), ("parameters", parameters))
    )
    given = parse_assignments(settings)
    require_one_target(folders, described=described, settings=given, budget=budget, pairs=pairs, parameters=parameters)
    if out is not None:
        require_report_folder(given_path(out, name="out"), key="predicted")
    plugins = load_plugins()
    config = None
    if described:
        flags = {"train": {"device": device}, **({"data": {"name": data}} if data else {})}
        recipe, _ = settle_recipe(plugin, config_file=config_file, settings=settings, flags=flags)
        config = resolve(plugins, plugin=recipe, config_file=config_file, settings=settings, flags=flags)
    if folders:
        scaled = scale_runs(
            folders, plugins=plugins, config=config, pairs=pairs, parameters=parameters, device=choose_device(device),
            seed=seed, on_progress=on_progress,
        )  # fmt: skip
    elif config is not None and out is not None:
        scaled = scale_ladder(config, Path(out), plugins=plugins, budget=budget, seed=seed, on_progress=on_progress)
    else:
        raise ConfigError("the small trainings need a folder.", hint="Give one: out=FOLDER")
    if out is not None:
        write_scale(scaled, Path(out))
    return scaled


def diagnose_run(run: str | Path, *, device: str = "auto", seed: int = 0) -> Diagnosed:
    """Diagnose the head of a run, and write what was found into its folder `diagnosis`.

    Raises: ConfigError for a head that is not linear in the embeddings; DataError for too few queries.
    """
    folder = given_path(run, name="run")
    found = diagnose_head(folder, plugins=load_plugins(), device=device, seed=seed)
    write_diagnosis(folder, found)
    return found
