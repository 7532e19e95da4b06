"""`xmc doctor`: what is installed, what clashes, what is missing and what to do about it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from xmc.cli.options import JsonOption
from xmc.counted import counted
from xmc.machine import cores, visible_cores

DISTRIBUTIONS = (
    "numpy",
    "pyarrow",
    "torch",
    "sentence-transformers",
    "tokenizers",
    "safetensors",
    "pluggy",
    "pydantic",
)


def doctor_command(as_json: JsonOption = False) -> None:
    """Report versions, devices and threads, and every known clash; exit code 1 when there is a problem.

    Example: xmc doctor
    """
    from xmc.cli.output import print_json, print_table

    report = diagnose()
    if as_json:
        print_json(report)
    else:
        print_table([{"what": what, "value": value} for what, value in report["facts"].items()])
        for note in report["notes"]:
            typer.echo(f"note: {note}")
        for problem in report["problems"]:
            typer.secho(f"problem: {problem}", fg="red")
        typer.echo("problems: none" if not report["problems"] else f"problems: {len(report['problems']):,}")
    if report["problems"]:
        raise typer.Exit(1)


def diagnose() -> dict[str, Any]:
    """Facts (name to value), notes (worth knowing) and problems (to mend), as plain data."""
    owners = metadata.packages_distributions()
    facts: dict[str, Any] = {
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        "xmc-engine": _version("xmc-engine"),
        **{name: _version(name) for name in DISTRIBUTIONS},
    }
    notes: list[str] = []
    problems = [*engine_problems(), *placeholder_problems(_package_folder()), *plugin_problems()]
    for found_facts, found_notes, found_problems in (torch_findings(), faiss_findings(owners.get("faiss", []))):
        facts |= found_facts
        notes += found_notes
        problems += found_problems
    facts["processors"] = cores()
    notes += quota_notes(cores(), visible_cores())
    facts["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "not set")
    return {"facts": facts, "notes": notes, "problems": problems}


Findings = tuple[dict[str, Any], list[str], list[str]]


def engine_problems() -> list[str]:
    """xmc imported from a folder that is not installed: then no plugin can be found."""
    if _version("xmc-engine") is not None:
        return []
    return ["xmc runs from a source folder but is not installed, so no plugin is found. Do: pip install '.[cpu]'"]


def placeholder_problems(package: Path) -> list[str]:
    """The unrelated distribution called `xmc`, which writes into the same import package."""
    if _version("xmc") is None and not (package / "examples" / "example.py").exists():
        return []
    return [
        f"the unrelated distribution 'xmc' of the package index has written into {package}. "
        "Do: pip uninstall xmc, then reinstall xmc-engine"
    ]


def plugin_problems() -> list[str]:
    """Plugins that failed to load, with the distribution that brought them."""
    from xmc.plugin_manager import load_plugins

    return [
        f"plugin '{failed.name}' ({failed.distribution}) failed to load: {failed.describe()}. "
        "Do: mend or uninstall it, or set XMC_DISABLED_PLUGINS"
        for failed in load_plugins().failed
    ]


def torch_findings() -> Findings:
    """Whether torch imports, its devices and its threads."""
    try:
        import torch
    except Exception as error:  # a broken wheel may raise anything
        return {"torch threads": None, "GPUs for torch": 0}, [], [f"torch cannot be imported: {_line(error)}"]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = ", ".join(torch.cuda.get_device_name(device) for device in range(count))
    facts = {"torch threads": torch.get_num_threads(), "GPUs for torch": f"{count} ({gpus})" if count else 0}
    threads = torch.get_num_threads()
    notes = [f"torch uses {counted(threads, 'thread')} on {counted(cores(), 'processor')}"] if threads > cores() else []
    return facts, notes, []


def quota_notes(allowed: int, visible: int) -> list[str]:
    """That a container may use fewer processors than its libraries see."""
    if allowed >= visible:
        return []
    return [
        f"a quota lets this process use {allowed} of {counted(visible, 'processor')}; xmc starts "
        f"{counted(allowed, 'thread')} unless "
        f"OMP_NUM_THREADS says otherwise. A program of yours that imports xmc needs OMP_NUM_THREADS={allowed}"
    ]


def faiss_findings(distributions: Sequence[str]) -> Findings:
    """What the distributions that own the import package `faiss` amount to.

    The processor and the GPU wheels install the same files, and the last one wins; `StandardGpuResources` tells which
    build is really there.
    """
    names = sorted(set(distributions))
    shown = ", ".join(f"{name} {_version(name)}" for name in names) or None
    if not names:
        hint = "pip install 'xmc-engine[cpu]', or [gpu] on Linux x86-64"
        return {"faiss": shown}, [f"faiss is missing: exact search works, faiss.* indexes do not. Do: {hint}"], []
    problems = []
    if len(names) > 1:
        problems.append(f"several distributions install faiss over each other: {shown}. Do: uninstall all, install one")
    try:
        import faiss
    except Exception as error:  # a broken wheel may raise anything
        return {"faiss": shown}, [], [*problems, f"faiss ({shown}) cannot be imported: {_line(error)}"]
    gpu_build = hasattr(faiss, "StandardGpuResources")
    gpus = faiss.get_num_gpus() if gpu_build else 0
    notes = ["faiss was built for GPUs but sees none; it searches on the processor"] if gpu_build and not gpus else []
    return {"faiss": shown, "faiss build": "GPU" if gpu_build else "CPU", "GPUs for faiss": gpus}, notes, problems


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _package_folder() -> Path:
    import xmc

    return Path(str(xmc.__file__)).parent


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
