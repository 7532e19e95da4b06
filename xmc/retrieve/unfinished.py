"""Tell a run that is not finished from a folder that is none, so that the error says how to go on."""

from __future__ import annotations

from pathlib import Path

from xmc.errors import ArtifactError, quoted
from xmc.retrieve.layout import REPLACEMENT_MOVING, REPLACEMENT_WHOLE, encoder_store, index_store


def require_trained(run: Path) -> None:
    """Nothing for a run with a model. Raises: ArtifactError for a run without one yet, and for what is no run."""
    if any((run / name).is_dir() for name in (REPLACEMENT_WHOLE, REPLACEMENT_MOVING)):
        raise ArtifactError(
            f"a new run takes the place of {run}, and was interrupted unless that is going on now.", hint=_go_on(run)
        )
    if not encoder_store(run).is_empty():
        return
    if _is_run(run):
        raise _untrained(run)
    message, hint = no_run(run)
    raise ArtifactError(message, hint=hint)


def no_run(run: Path) -> tuple[str, str]:
    """What is said of a folder that is no run, or is not there, and the hint."""
    out = "RUN" if run.exists() else quoted(run)
    return (
        f"{run} is not a run folder (it has no config.toml).",
        f"Is this the right folder? A run is made by: xmc train --data DATA --out {out}",
    )


def require_indexed(run: Path) -> None:
    """Nothing for a run with an index, and for what is no run. Raises: ArtifactError for a run without one yet."""
    if not _is_run(run) or not index_store(run).is_empty():
        return
    if not (run / "train.json").is_file():  # the last thing that a training writes
        raise _untrained(run)
    raise ArtifactError(f"{run} is trained, but has no index.", hint=f"Build it: xmc index --run {quoted(run)}")


def _untrained(run: Path) -> ArtifactError:
    return ArtifactError(
        f"the training of {run} is not finished: it was interrupted, unless it is going on now.", hint=_go_on(run)
    )


def _go_on(run: Path) -> str:
    return f"Go on with: xmc train --out {quoted(run)} --resume"


def _is_run(run: Path) -> bool:
    return (run / "config.toml").is_file()
