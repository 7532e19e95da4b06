"""Export the text encoder of a run as files that need neither xmc nor torch, and see that they give its embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.data.dataset import Dataset, load_dataset
from xmc.encode.encoder import Role
from xmc.encode.text_graph import GraphEncoder, TextGraph
from xmc.engine.environment import versions
from xmc.engine.export_check import COSINE_TOLERANCE, DIFFERENCE_TOLERANCE, Comparison, compare, sample_texts
from xmc.engine.model_card import model_card
from xmc.engine.onnx_files import MODEL_NAME, OPSET, TOKENIZER_NAME, OnnxFiles, require_onnx, write_graph
from xmc.engine.run_config import RunConfig
from xmc.errors import ConfigError, XmcError, did_you_mean
from xmc.plugin_manager import Plugins
from xmc.retrieve.run_state import query_weight_of
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.store import new_folder, require_new, write_json, write_text

EXPORT_KIND = "export"
REPORT_NAME = "export.json"
FORMATS = ("onnx",)


@dataclass(frozen=True)
class Side:
    """One exported graph: its subfolder (`""` for the folder itself), its inputs, the roles it embeds with prompts."""

    folder: str
    graph: TextGraph

    def to_dict(self, role: Role) -> dict[str, Any]:
        """Where the files of a role are and how they are called, for JSON."""
        inside = f"{self.folder}/" if self.folder else ""
        files = {"model": inside + MODEL_NAME, "tokenizer": inside + TOKENIZER_NAME}
        return {**files, "inputs": list(self.graph.inputs), "prompt": self.graph.prompts[role]}


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how far its embeddings are from the run's own."""

    format: str
    encoder: str
    encoder_sha256: str
    dimension: int
    similarity: str
    sides: tuple[Side, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every side is equal within the tolerances."""
        return all(comparison.passed for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = {comparison.role: comparison.to_dict() for comparison in self.comparisons}
        return {
            "format": self.format,
            "opset": OPSET,
            "encoder": self.encoder,
            "encoder_sha256": self.encoder_sha256,
            "dimension": self.dimension,
            "similarity": self.similarity,
            "sides": {role: side.to_dict(role) for side in self.sides for role in side.graph.prompts},
            "tolerance": {"difference": DIFFERENCE_TOLERANCE, "of": "largest_value", "cosine": COSINE_TOLERANCE},
            "passed": self.passed,
            "comparisons": found,
            "notes": list(self.notes),
            "versions": versions("onnx", "onnxruntime"),
        }


class ExportError(XmcError):
    """An export whose embeddings are not those of the run; `report` has the figures, and nothing was written."""

    def __init__(self, report: ExportReport) -> None:
        worst = max(report.comparisons, key=lambda comparison: (not comparison.passed, comparison.largest_difference))
        super().__init__(
            f"the exported encoder does not give the embeddings of the run: on the {worst.role} side they differ by up "
            f"to {worst.largest_difference:.3g}, allowed is {DIFFERENCE_TOLERANCE * worst.largest_value:.3g}; the "
            f"smallest cosine is {worst.smallest_cosine:.6f}. Nothing was written.",
            hint="The encoder does something that tracing cannot follow; use the run with xmc itself.",
        )
        self.report = report


def run_export(config: RunConfig, run: Path, out: Path, *, plugins: Plugins, format: str = "onnx") -> ExportReport:
    """Write the run's encoder into the new folder `out`, with a report, a README and a manifest; compare, then commit.

    Raises: ConfigError for an unknown format, an encoder that cannot be exported, missing libraries, or an `out` that
    holds something; DataError when the run's data set, whose texts are compared, is not there; ExportError when the
    embeddings differ.
    """
    if format not in FORMATS:
        raise ConfigError(
            f"unknown format '{format}'. {did_you_mean(format, FORMATS)}".strip(), hint=f"One of: {', '.join(FORMATS)}."
        )
    require_new(out)
    require_onnx()
    model = load_model(run, plugins=plugins)
    sides = _sides(model)
    data = load_dataset(config.data.name)
    with new_folder(out, kind=EXPORT_KIND, facts={"format": format, "encoder_sha256": model.sha256}) as folder:
        for side in sides:
            (folder / side.folder).mkdir(exist_ok=True)
            write_graph(side.graph, folder / side.folder)
        moved = query_weight_of(run) > 0
        report = _report(format, model, sides, _compare(model, sides, folder, data), moved=moved)
        if not report.passed:
            raise ExportError(report)
        write_json(folder / REPORT_NAME, report.to_dict())
        write_text(folder / "README.md", model_card(run, plugins=plugins, exported=report.to_dict()))
    return report


def _sides(model: TrainedModel) -> tuple[Side, ...]:
    encoder = model.encoder
    if not isinstance(encoder, GraphEncoder):
        raise ConfigError(
            f"the encoder '{encoder.name}' cannot be exported: what it does before its vectors are added up is no "
            "tensor operation on tokens.",
            hint="What can: static, sentence-transformers, and encoders of plugins that have `text_graphs`.",
        )
    graphs = encoder.text_graphs()
    if len(graphs) == 1:
        return (Side("", graphs[0]),)
    return tuple(Side("-".join(graph.prompts), graph) for graph in graphs)


def _compare(model: TrainedModel, sides: Sequence[Side], folder: Path, data: Dataset) -> tuple[Comparison, ...]:
    queries = data.test or data.train
    texts: dict[Role, Sequence[str]] = {"query": queries.texts, "label": data.labels.texts}
    comparisons = []
    for side in sides:
        files = OnnxFiles(folder / side.folder)
        for role, prompt in side.graph.prompts.items():
            comparisons.append(compare(model.encoder, files.embed, sample_texts(texts[role]), role, prompt))
    return tuple(comparisons)


def _report(
    format: str, model: TrainedModel, sides: tuple[Side, ...], comparisons: tuple[Comparison, ...], *, moved: bool
) -> ExportReport:
    encoder = model.encoder
    notes = []
    if not model.labels_from_text:
        notes.append(
            "The run's head keeps more of a label than its text, or maps queries before it scores them: the run's own "
            "index is searched with what xmc makes of an embedding, not with the embedding alone."
        )
    if moved:
        notes.append(
            "The run's index holds labels that were moved towards their training queries ([labels] query_weight): "
            "their vectors there are not the embeddings of their texts alone, which the exported label side gives."
        )
    return ExportReport(
        format, encoder.name, model.sha256, encoder.dimension, encoder.similarity, sides, comparisons, tuple(notes)
    )
