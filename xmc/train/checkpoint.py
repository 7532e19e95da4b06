"""All that training needs to go on as if it had never stopped: encoder, head, optimiser, random state, position."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from xmc.api import Head
from xmc.encode.encoder import Encoder, EncoderOptions
from xmc.errors import ArtifactError, ConfigError
from xmc.optimizer_contract import as_saved, from_saved
from xmc.store import VersionedFolder
from xmc.train.random_state import set_random_state

KIND = "checkpoint"
HOW_TO_SET = {
    "threads": "For that many threads put OMP_NUM_THREADS={} before the command.",
    "processes": "Start {} processes with torchrun.",
    "device": "Give --device {}.",
}


@dataclass
class Progress:
    """Where a run stands; grows with the run and is part of every checkpoint.

    `rewritten` counts the queries that an augmentation has changed, `augmentation_s` is what that took, preparing the
    texts included.
    """

    step: int = 0
    best_validation: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    epoch_loss_sum: float = 0.0
    epoch_loss_steps: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    finished: bool = False
    rewritten: int = 0
    augmentation_s: float = 0.0


def open_store(run: Path) -> VersionedFolder:
    """The checkpoints of a run folder."""
    return VersionedFolder(run / "checkpoint", kind=KIND)


def save_checkpoint(
    store: VersionedFolder,
    encoder: Encoder,
    head_state: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    fingerprint: dict[str, Any],
    random_states: Tensor,
) -> None:
    """Commit the state after `progress.step` steps; an earlier checkpoint stays until this one is safe.

    `random_states` are what `random_state` gives on each rank, one below the other.
    """
    with store.new_version(facts={"fingerprint": fingerprint, "step": progress.step}, keep=1) as folder:
        (folder / "encoder").mkdir()
        encoder.save_training(folder / "encoder")
        save_file({name: value.contiguous() for name, value in head_state.items()}, folder / "head.safetensors")
        tensors, scalars = as_saved(optimizer.state_dict())
        save_file({**tensors, "random_state": random_states}, folder / "optimiser.safetensors")
        state = {"progress": dataclasses.asdict(progress), "optimiser": scalars}
        (folder / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
    store.repeat_first(keep=1)


@dataclass(frozen=True)
class Checkpoint:
    """An opened, verified checkpoint."""

    folder: Path
    progress: Progress
    _optimiser: dict[str, Any]

    def encoder(self, options: EncoderOptions) -> Encoder:
        """The encoder as it was."""
        return options.load_training(self.folder / "encoder")

    def restore(self, optimizer: torch.optim.Optimizer, head: Head, *, rank: int = 0) -> None:
        """Put the head, the optimiser and torch's random numbers back where they were on this rank."""
        head.load_state(load_file(self.folder / "head.safetensors"))
        tensors = load_file(self.folder / "optimiser.safetensors")
        set_random_state(tensors.pop("random_state")[rank])
        optimizer.load_state_dict(from_saved(tensors, self._optimiser))


def load_checkpoint(
    store: VersionedFolder, *, fingerprint: dict[str, Any], about_data: Callable[[], str] = lambda: "it has changed"
) -> Checkpoint:
    """Open and verify the last committed checkpoint.

    `about_data` says in words how the data differs, of which the fingerprint has no more than a hash.
    Raises: ArtifactError when there is none or it is damaged; ConfigError when data, configuration or thread count are
    not those it was made with.
    """
    version = store.current()
    recorded = version.manifest.facts.get("fingerprint", {})
    changed = sorted(key for key in {*recorded, *fingerprint} if recorded.get(key) != fingerprint.get(key))
    if changed:
        others = tuple(key.removesuffix("name") for key in changed if key.endswith(".name"))  # each with its options
        told = [key for key in changed if key != "data" and (key.endswith(".name") or not key.startswith(others))]
        details = [f"{key} was {recorded.get(key)!r}, is {fingerprint.get(key)!r}" for key in told]
        if "data" in changed:
            details.append(f"the data is not that which it was trained on, {about_data()}")
        ways = [HOW_TO_SET[key].format(recorded[key]) for key in changed if key in HOW_TO_SET and key in recorded]
        raise ConfigError(
            f"cannot resume {store.root.parent}: {'; '.join(details)}.",
            hint=" ".join((*ways, "Resume with the same data and settings, or start anew in another --out folder.")),
        )
    try:
        state = json.loads((version.folder / "state.json").read_text(encoding="utf-8"))
        return Checkpoint(version.folder, Progress(**state["progress"]), state["optimiser"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{version.folder}/state.json does not describe a checkpoint: {error}.") from error
