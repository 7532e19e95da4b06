"""The model card of a run: what its reports say, as Markdown with front matter; nothing in it is measured here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.config import write_toml
from xmc.data.named import licence_of
from xmc.engine.card_reports import RunReports, named_parts, read_reports
from xmc.engine.check_page import show_number
from xmc.engine.environment import versions
from xmc.errors import ArtifactError, XmcError, XmcWarning, quoted
from xmc.plugin_manager import Plugins, load_plugins
from xmc.store import write_text

if TYPE_CHECKING:
    from jinja2 import Template

CARD_NAME = "README.md"
TAGS = ("xmc", "extreme-classification")
TAGGED_PARTS = ("encoder", "head", "loss")
USE = """\
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FILES = {{  # of each side: the model, its tokenizer, what is put before a text
{files}
}}

def embed(texts, side):
    model, tokenizer, prompt = FILES[side]
    tokens = Tokenizer.from_file(tokenizer).encode_batch([prompt + text for text in texts])
    known = {{"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}}
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, {{n: np.array([getattr(t, known[n]) for t in tokens], np.int64) for n in names}})[0]

scores = embed(["a query", "another one"], "query") @ embed(["a label", "one more", "a third"], "label").T
print(scores.shape)  # queries x labels"""


def write_card(run: Path, *, plugins: Plugins) -> None:
    """Write `run/README.md` from the reports that the run has now.

    An XmcWarning says so where that cannot be: what the card tells of is committed already, and stays.
    """
    path = run / CARD_NAME
    try:
        write_text(path, model_card(run, plugins=plugins))
    except (OSError, XmcError) as error:
        warnings.warn(
            f"the model card {path} could not be written ({error}), so it is missing or that of an earlier state. "
            "What was built or measured is committed and in use. When that is mended, write the card: "
            f"xmc info {quoted(run)} --card > {quoted(path)}",
            XmcWarning,
            stacklevel=3,
        )


def model_card(run: Path, *, plugins: Plugins | None = None, exported: Mapping[str, Any] | None = None) -> str:
    """The card of a run, or, with the report of an export, that of the exported folder.

    Raises: ConfigError when the folder is not a run; ArtifactError when a report in it is damaged.
    """
    import jinja2

    reports = read_reports(run, plugins=plugins or load_plugins())
    try:
        return _template().render(_facts(run, reports), exported=exported, use=_use(exported) if exported else "")
    except (jinja2.UndefinedError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactError(
            f"a report in {run} is not as this xmc writes it: {error}.",
            hint="Measure again: xmc evaluate, xmc check all.",
        ) from error


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"number": show_number, "cell": _cell}
    return environment.from_string(files("xmc.engine").joinpath("model_card.md").read_text(encoding="utf-8"))


def _facts(run: Path, reports: RunReports) -> dict[str, Any]:
    """What the template shows."""
    parts = {part: name for part, name in named_parts(reports.config).items() if part != "data"}
    if reports.index:  # `xmc index` may have built another one than the run was configured with
        parts["index"] = reports.index["backend"]
    if reports.second_stage:  # by `xmc rerank`, too
        parts["reranker"] = reports.second_stage["name"]
    evaluation = reports.evaluation
    bands = evaluation["evaluation"]["bands"] if evaluation else []
    missing = [f"`{check.name}`" for check in reports.checks if not check.measured]
    outdated = [f"`{check.name}`" for check in reports.checks if check.stale]
    return {
        "name": run.resolve().name,
        "tags": [*TAGS, *dict.fromkeys(name for part, name in parts.items() if part in TAGGED_PARTS)],
        "results": _results(reports),
        "train": reports.train,
        "licence": licence_of(str(reports.config.get("data", {}).get("name", ""))),
        "parts": parts,
        "settings": write_toml(reports.config).strip(),
        "evaluation": evaluation and {**evaluation, "stale": reports.evaluation_stale},
        "checks": reports.checks,
        "missing": missing if evaluation else ["figures", *missing],
        "outdated": ["figures", *outdated] if reports.evaluation_stale else outdated,
        "unmeasured_groups": [band["name"] for band in bands if not band["queries"]],
        "index": reports.index,
        "second_stage": reports.second_stage or {},
        "versions": (reports.train or {}).get("versions") or versions(),
    }


def _results(reports: RunReports) -> list[dict[str, Any]]:
    """The figures for the front matter, by the queries they are of; only those of the run as it is now."""
    results = []
    if reports.evaluation and not reports.evaluation_stale:
        figures = reports.evaluation["evaluation"]["overall"]["figures"]
        metrics = [{"name": name, "value": figure["value"]} for name, figure in figures.items()]
        results.append({"data": reports.evaluation["data"], "metrics": metrics})
    for check in reports.checks:
        if check.report and check.measured and not check.stale and not check.folded:
            figures = check.report["figures"]
            metrics = [{"name": f"{check.name}.{name}", "value": figures[name]["value"]} for name in figures]
            results.append({"data": check.report["data"], "metrics": metrics})
    return results


def _use(exported: Mapping[str, Any]) -> str:
    """The lines that run an exported folder."""
    sides = exported["sides"]
    files = [f'    "{role}": {(side["model"], side["tokenizer"], side["prompt"])},' for role, side in sides.items()]
    return USE.format(files="\n".join(files))


def _cell(value: Any) -> str:
    """A value as it can stand in a Markdown table.

    >>> _cell("a|b")
    'a\\\\|b'
    """
    return " ".join(str(value).replace("|", "\\|").split())
