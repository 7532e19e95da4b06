"""One training job: its configuration, data and folder, and what every way of training does with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from xmc.api import FittedHead, HeadContext
from xmc.data.dataset import Dataset
from xmc.encode.encoder import Encoder
from xmc.engine.carried import Carried
from xmc.engine.devices import choose_device
from xmc.engine.environment import versions
from xmc.engine.run_config import RunConfig
from xmc.engine.teacher import open_teacher
from xmc.plugin_manager import Plugins
from xmc.retrieve.trained_model import commit_model
from xmc.store import write_json
from xmc.train.distributed import ALONE, Ranks
from xmc.train.plan import Plan
from xmc.train.reporter import Reporter, SilentReporter
from xmc.values import RunInfo

FREE_TO_CHANGE = ("train.checkpoint_s", "train.patience", "train.device")


@dataclass(frozen=True)
class Job:
    """What is trained, where, who watches, and which processes do it; the run folder is locked and prepared."""

    config: RunConfig
    run: Path
    data: Dataset
    plugins: Plugins
    info: RunInfo
    reporter: Reporter
    on_plan: Callable[[Plan, Dataset], None] | None = None
    ranks: Ranks = ALONE
    carried: Carried = field(default_factory=Carried)

    @property
    def device(self) -> str:
        """The device that `[train] device` comes to."""
        return choose_device(self.config.train.device)

    @property
    def index_device(self) -> str:
        """The device for the run's index backend, to which `auto` is left: some have no GPU version."""
        return self.config.train.device

    def new_encoder(self) -> Encoder:
        """A fresh encoder for the texts of the data set."""
        data, config = self.data, self.config
        encoder: Encoder = config.encoder.options.build(data.train.texts, data.labels.texts, seed=config.train.seed)
        return encoder

    def head_context(self, encoder: Encoder) -> HeadContext:
        """What the head is built from."""
        loss = self.plugins.find("loss", self.config.loss.name).spec
        return HeadContext(
            labels=len(self.data.labels),
            dimension=encoder.dimension,
            similarity=encoder.similarity,
            device=self.device,
            seed=self.config.train.seed,
            loss=self.config.loss.options,
            pool=loss.pool,  # type: ignore[attr-defined]
            encoder=encoder,
            label_features=encoder.prepare(self.data.labels.texts, "label"),
            train=self.config.train,
            optimizer=self.config.optimizer.options,
        )

    def commit(self, encoder: Encoder, head: FittedHead) -> None:
        """Make encoder and head the run's model; called by all ranks, done by the one that writes."""
        if not self.ranks.writes:
            head.state()  # which the ranks put together
            return
        config, labels = self.config, self.data.labels
        sections = {"encoder_section": config.encoder.to_dict(), "head_section": config.head.to_dict()}
        commit_model(self.run, encoder, head, labels, **sections)

    def observer(self) -> Reporter:
        """The reporter, which also tells the plugins' observers about epochs; nobody on a rank that does not write."""
        return _Observed(self.reporter, self.plugins, self.info) if self.ranks.writes else SilentReporter()

    def write_report(self, **facts: Any) -> dict[str, Any]:
        """Write and return `run/train.json`: these facts with the data, the device and the versions."""
        data = self.data
        report = {
            "data": {"name": data.name, "fingerprint": data.fingerprint, "notes": list(data.notes)},
            "splits": list(data.splits),
            "label_scope": self.config.train.label_scope,
            "device_used": self.device,
            "processes": self.ranks.size,
            **facts,
            "versions": versions(),
        }
        if self.ranks.writes:
            write_json(self.run / "train.json", report)
        return report


def fingerprint(config: RunConfig, data: Dataset, ranks: Ranks = ALONE) -> dict[str, Any]:
    """What must be the same for a checkpoint to be continued bit for bit; a setting is named `section.key`."""
    sections = {kind: getattr(config, kind).to_dict() for kind in ("encoder", "head", "loss")}
    sections["optimizer"] = {key: value for key, value in config.optimizer.to_dict().items() if key != "name"}
    sections["train"] = {**asdict(config.train), "optimizer": config.optimizer.name}  # as older checkpoints have it
    if (augmentation := config.augmentation).name != "none":  # which older checkpoints do not mention
        sections["augmentation"] = {**augmentation.to_dict(), "reads": augmentation.options.fingerprint()}
    if config.train.label_scope == "mined":  # by the index
        sections["index"] = config.index.to_dict()
    if teacher := open_teacher(config):
        sections["teacher"] = {"reads": teacher.sha256}
    settings = {
        f"{section}.{key}": value
        for section, values in sections.items()
        for key, value in values.items()
        if f"{section}.{key}" not in FREE_TO_CHANGE
    }
    settled = {
        **settings,
        "data": data.fingerprint,
        "device": choose_device(config.train.device),
        "threads": torch.get_num_threads(),
        "processes": ranks.size,
        "torch": torch.__version__.partition("+")[0],
    }
    as_read_back: dict[str, Any] = json.loads(json.dumps(settled, default=list))
    return as_read_back


class _Observed:
    """A reporter that also tells the plugins' observers about epochs."""

    def __init__(self, reporter: Reporter, plugins: Plugins, info: RunInfo) -> None:
        self._reporter, self._plugins, self._info = reporter, plugins, info
        self.step_finished = reporter.step_finished

    def epoch_finished(self, row: Any) -> None:
        self._reporter.epoch_finished(row)
        self._plugins.epoch_finished(self._info, int(row["epoch"]), row)
