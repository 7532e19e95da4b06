"""Run checks of a finished run, judge them by their limits, write what they found."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from xmc.api import CheckContext
from xmc.check_contract import no_progress
from xmc.data.dataset import Dataset
from xmc.engine.check_page import checks_page
from xmc.engine.check_report import (
    CheckOutcome,
    ChecksReport,
    Verdict,
    checked_result,
    write_outcome,
)
from xmc.engine.check_settings import CheckSettings, options_of
from xmc.engine.data_since import data_since_training
from xmc.engine.environment import versions
from xmc.engine.fitted_folder import FittedFolder
from xmc.engine.held_out import HeldOut, HeldOutSearch, held_out
from xmc.engine.index_rows import index_rows, train_counts
from xmc.engine.model_card import write_card
from xmc.engine.more_queries import advise_more_queries
from xmc.engine.progress import Progress
from xmc.engine.removed_labels import without_removed
from xmc.engine.run_config import RunConfig
from xmc.engine.training_set import load_for_training
from xmc.errors import ConfigError, DataError
from xmc.plugin_manager import Offer, Plugins
from xmc.retrieve.label_edits import read_edits
from xmc.retrieve.layout import checks_folder
from xmc.retrieve.retriever import Retriever
from xmc.store import write_json, write_text

ALL = "all"


def run_checks(
    config: RunConfig,
    run: Path,
    names: Sequence[str],
    *,
    plugins: Plugins,
    split: str = "test",
    fit_split: str = "",
    device: str = "auto",
    on_progress: Progress | None = None,
) -> ChecksReport:
    """Run the named checks, or every installed one for `all`, and write each into `run/checks/NAME/`.

    With `all`, or several names, `run/checks/report.json` and `report.html` have everything, and a check that refuses
    is reported, among the report's `refused` where it was named; a check that is asked for alone raises what it refuses
    with. The run's card is written anew. `source` says it, too, when the data set is another than in training.
    Raises: PluginError for an unknown check or one that breaks its contract; DataError, ConfigError from a check.
    """
    offers = choose_checks(plugins, names)
    together = len(offers) > 1 or ALL in names
    data = without_removed(load_for_training(config), read_edits(run))
    retriever = Retriever.load(run, device=device, plugins=plugins, warn=False)
    queries = held_out(data, retriever, split=split, fit_split=fit_split)
    if note := data_since_training(run, data):
        queries = replace(queries, source=f"{queries.source}; {note}")
    context = open_context(config, run, data, retriever, queries, device=device)
    facts = {"name": data.name, "split": split, "fingerprint": data.fingerprint}
    about = {"data": facts, "queries": queries.source, "model": retriever.identity, "versions": versions()}
    outcomes = []
    for offer in offers:
        progress = functools.partial(on_progress, offer.full_name) if on_progress else no_progress
        advise = functools.partial(advise_more_queries, config, data, context)
        outcome = run_check(offer, config.check, context, progress=progress, refuse=not together, advise=advise)
        write_outcome(run, outcome, about=about)
        outcomes.append(outcome)
    asked = () if ALL in names else tuple(offer.full_name for offer in offers)
    report = ChecksReport(run, facts, queries.source, tuple(outcomes), versions(), together, asked)
    if together:
        write_json(checks_folder(run) / "report.json", report.to_dict())
        write_text(checks_folder(run) / "report.html", checks_page(report))
    write_card(run, plugins=plugins)
    return report


def choose_checks(plugins: Plugins, names: Sequence[str]) -> list[Offer]:
    """The checks of these names, each once; all that are installed for `all`.

    Raises: ConfigError without a name, PluginError for an unknown one.
    """
    if not names:
        installed = ", ".join(offer.full_name for offer in plugins.offers["check"])
        raise ConfigError("which check?", hint=f"Give one or more of: {installed}, all")
    if ALL in names:
        return list(plugins.offers["check"])
    return list({(offer := plugins.find("check", name)).full_name: offer for name in names}.values())


def open_context(
    config: RunConfig, run: Path, data: Dataset, retriever: Retriever, queries: HeldOut, *, device: str = "auto"
) -> CheckContext:
    """The context of a run, before it belongs to one check."""
    counts_L = train_counts(data, index_rows(data, retriever), labels=len(retriever.labels))
    return CheckContext(
        run=run,
        retriever=retriever,
        queries=queries.queries,
        fit_queries=queries.fit_queries,
        train_counts_L=counts_L,
        train_queries=len(data.train),
        search=HeldOutSearch(retriever, no_progress),
        new_version=FittedFolder(run, retriever),
        model=retriever.identity,
        device=retriever.report.device_used if device == "auto" else device,
        seed=config.evaluate.bootstrap_seed,
        source=queries.source,
    )


def run_check(
    offer: Offer,
    settings: CheckSettings,
    context: CheckContext,
    *,
    progress: Callable[[int, int], None] = no_progress,
    refuse: bool = True,
    advise: Callable[[], str] = str,
) -> CheckOutcome:
    """Run one check with its options and judge its figures; with `refuse` its refusal is raised, else reported.

    `advise` gives a sentence to add to the hint where the data do not allow the check.
    """
    check, name = settings.check(offer), offer.full_name
    better = dict(check.figures())
    if isinstance(context.search, HeldOutSearch):
        context.search.progress = progress
    if isinstance(context.new_version, FittedFolder):
        context = replace(context, new_version=replace(context.new_version, check=name))
    context = replace(context, progress=progress)
    limits = [limit for limit in settings.limits if limit.check == name]
    started = time.monotonic()
    outcome = CheckOutcome(name, offer.spec.summary, options_of(check), 0.0, better=better)
    try:
        result = checked_result(name, better, check.run(context))
    except (ConfigError, DataError) as refusal:
        error = refusal
        if type(refusal) is DataError and (advice := advise()):
            error = DataError(refusal.message, hint=f"{refusal.hint} {advice}".strip())
        if refuse:
            raise error from refusal
        verdicts = tuple(Verdict(limit, None) for limit in limits)
        return replace(outcome, refusal=str(error), verdicts=verdicts, seconds=time.monotonic() - started)
    found = {figure: number.value for figure, number in result.figures.items()}
    verdicts = tuple(Verdict(limit, found.get(limit.figure)) for limit in limits)
    return replace(outcome, result=result, verdicts=verdicts, seconds=time.monotonic() - started)
