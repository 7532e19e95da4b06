"""What a batch prediction is: everything that decides the bytes of its output, and where that goes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.errors import ArtifactError, ConfigError
from xmc.given_numbers import whole_number
from xmc.given_paths import given_path
from xmc.retrieve.fitted import Fitted, read_fitted
from xmc.retrieve.layout import encoder_store, index_store
from xmc.retrieve.run_plugins import require_run_plugins
from xmc.retrieve.run_state import answering_of, require_device
from xmc.retrieve.unfinished import require_indexed, require_trained
from xmc.store.location import Location

FORMAT = 1
CALIBRATION = "calibration"
Watch = Callable[[int, int], None]
"""Hears rows and input bytes done since the last call, after each batch; what it raises drops the shard."""


@dataclass(frozen=True)
class Job:
    """A prediction with the run `run` into the folder `out`; plain values, so that it travels to any worker.

    `model` are the SHA-256 of encoder, index, edits of the labels, reranker and calibration, as they were when the job
    was made; `allowed` is that of the labels it may answer with, empty for all (see `xmc.predict.allowed`). `notes` say
    how far its probabilities belong to the labels, and decide nothing.
    """

    run: str
    out: Location
    k: int
    batch_rows: int
    model: Mapping[str, str]
    min_probability: float | None = None
    device: str = "auto"
    allowed: str = ""
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the answers; not `device`, whose results differ in rounding only, and not where things lie."""
        options = {"k": self.k, "min_probability": self.min_probability, "batch_rows": self.batch_rows}
        filtered = {"allowed": self.allowed} if self.allowed else {}
        return {"format": FORMAT, "model": dict(self.model), **options, **filtered}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the facts: one folder holds the output of one fingerprint."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "out": vars(self.out), "model": dict(self.model)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """What `to_dict` gave."""
        return cls(**{**values, "out": Location(**values["out"])})


def make_job(
    run: str | Path,
    out: str,
    *,
    k: int,
    batch_rows: int,
    min_probability: float | None = None,
    device: str = "auto",
    allowed: str = "",
) -> Job:
    """The job of a run; encoder and index are verified but not loaded.

    Raises: ConfigError for a wrong number, and for an `out` in the run; ArtifactError when the run is none, is not
    finished, is damaged, or has no calibration though `min_probability` needs one; PluginError when it needs a plugin
    that is not installed.
    """
    from xmc.plugin_manager import load_plugins
    from xmc.retrieve.query_checks import check_k, check_probability
    from xmc.vectors import validate_device

    if not out:
        raise ConfigError("the name of the output folder is empty.", hint="'.' is the folder of this process.")
    k = check_k(k)
    batch_rows = whole_number(batch_rows, name="batch_rows")
    if not 1 <= batch_rows <= 1_000_000:
        raise ConfigError(f"batch_rows must lie in 1..1,000,000, got {batch_rows:,}.")
    min_probability = check_probability(min_probability)
    validate_device(device)
    folder = given_path(run, name="run").absolute()
    require_trained(folder)
    require_indexed(folder)
    place = Location.of(out)
    _require_outside(folder, place)
    answering = answering_of(folder)
    fitted = read_fitted(folder, answering)
    require_run_plugins(folder, load_plugins())
    if min_probability is not None:
        fitted.require_calibration()
    return Job(
        str(folder),
        place,
        k,
        batch_rows,
        model_facts(answering.identity, fitted),
        None if min_probability is None else float(min_probability),
        device,
        allowed,
        (*fitted.stale(), *fitted.notes),
    )


def _require_outside(run: Path, out: Location) -> None:
    """Raises: ConfigError for an output folder that is the run, or lies in it."""
    if out.local is not None and Path(out.real.path).is_relative_to(run.resolve()):
        raise ConfigError(
            f"--out {out.shown} lies in the run folder {run}, whose files are those of xmc train, index and labels.",
            hint="Give an --out outside.",
        )


def index_folder(job: Job) -> Path:
    """The folder of the job's index, verified. Raises: ArtifactError when the run has another one by now."""
    version = index_store(Path(job.run)).current()
    if version.sha256 != job.model["index"]:
        raise changed_since(job.run)
    return version.folder / "backend"


def require_here(job: Job) -> None:
    """Refuse a job whose run or device this machine lacks, without reading all of the run: for workers elsewhere.

    Raises: ArtifactError when the run is not here, or another by now; as `require_device`.
    """
    run = Path(job.run)
    if not run.is_dir():
        raise ArtifactError(
            f"{platform.node()}, where a worker runs, has no run folder {run}.",
            hint="Every machine needs the run under the same path: a shared disk, or a copy.",
        )
    for name, store in (("encoder", encoder_store), ("index", index_store)):
        if store(run).current_sha256() != job.model[name]:
            raise changed_since(job.run)
    require_device(run, job.device)


def changed_since(run: str) -> ArtifactError:
    """The error of a run that is no longer what the job was made for."""
    return ArtifactError(
        f"{run} was changed since this prediction began.",
        hint="Start it again with --overwrite, or with another --out.",
    )


def model_facts(identity: Mapping[str, str], fitted: Fitted) -> dict[str, str]:
    """The SHA-256 of what makes scores and probabilities."""
    if fitted.calibration is None:
        return dict(identity)
    written = json.dumps(fitted.calibration.to_dict(), sort_keys=True).encode()
    return {**identity, CALIBRATION: hashlib.sha256(written).hexdigest()}
