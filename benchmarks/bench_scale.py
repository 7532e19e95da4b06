"""How well `xmc scale` predicts: P@1, loss and time of a full training, from small ones of a tenth of its compute.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_scale.py [--data icd10cm eurlex57k wordnet] [--budget 0.1]
        [--work FOLDER]

All with the static encoder and the settings of check_runs.py, EURLEX57K with all of its 45,000 documents. The full run
is made after the prediction, unless the work folder has a finished one, as NAME/full; its seconds are then left out.
Figures are of held-out queries of the dev split, seconds those of processors. What is measured replaces earlier rows
of the same data set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from check_runs import SAMPLED, SHIPPED, STATIC
from quality import imported
from record import beside_earlier, record

from xmc.engine.run_config import RunConfig, resolve
from xmc.engine.run_sizes import measured_point
from xmc.engine.scaling import Scaled, scale_ladder, trained_point, write_scale
from xmc.engine.training_set import load_for_training
from xmc.plugin_manager import Plugins, load_plugins

RESULTS = Path(__file__).parent / "results" / "scale.csv"
RUNS = {"icd10cm": ("dexml", ()), "eurlex57k": ("dexml.documents", STATIC), "wordnet": ("dexml", SAMPLED)}
Row = dict[str, object]


def full_run(config: RunConfig, work: Path, plugins: Plugins) -> dict[str, Any]:
    """The point of the full training, from an earlier call, of a finished run that is there, or trained now."""
    path, run, data = work / "full.json", work / "full", load_for_training(config)
    if not path.is_file():
        if (run / "train.json").is_file():
            point = measured_point("full", run, config, data, plugins=plugins, seconds=0.0)
        else:
            queries = config.train.validation_queries
            point = trained_point("full", config, run, data, held_out=queries, plugins=plugins)
        path.write_text(json.dumps(point.to_dict()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(name: str, scaled: Scaled, full: dict[str, Any], config: str) -> list[Row]:
    """What was predicted, what was measured, and what the ladder cost beside the full run."""
    found, shared = scaled.prediction, {"question": f"scaling prediction on {name}", "config": config, "threads": 1}
    rows: list[Row] = []
    figures = {"P@1": (found.p1, full["p1"], 100.0, "%"), "validation loss": (found.loss, full["loss"], 1.0, "")}
    for other, route in found.routes.items():
        figures[f"P@1 {other}"] = (route.p1.figure(), full["p1"], 100.0, "%")
    if full["seconds"]:
        figures["train processor"] = (found.seconds, full["seconds"], 1.0, "s")
    for x, (figure, measured, factor, unit) in figures.items():
        value, low, high = (round(factor * (number or 0.0), 3) for number in (figure.value, figure.low, figure.high))
        ratio = round(figure.value / measured, 3)
        row = {**shared, "subject": "predicted", "baseline": "measured", "x": x, "unit": unit}
        rows.append({**row, "median": value, "low95": low, "high95": high, "ratio": ratio})
        rows.append({**shared, "subject": "measured", "x": x, "unit": unit, "median": round(factor * measured, 3)})
    compute = sum(point.size.compute for point in found.points) / full["size"]["compute"]
    seconds = sum(point.seconds for point in found.points)
    ladder = {**shared, "subject": "small runs", "baseline": "measured"}
    rows.append({**ladder, "x": "compute", "unit": "% of the full run", "median": round(100 * compute, 2)})
    rows.append({**ladder, "x": "train processor", "unit": "s", "median": round(seconds, 1)})
    rows.append({**ladder, "x": "runs", "unit": "", "median": len(found.points)})
    return rows


def measured(name: str, options: argparse.Namespace, work: Path, plugins: Plugins) -> list[Row]:
    """All rows of one data set; none where it is absent."""
    data = name if name in SHIPPED else imported(name, work)
    if data is None:
        return []
    plugin, settings = RUNS[name]
    config = resolve(plugins, plugin=plugin, settings=settings, flags={"data": {"name": data}})
    out = work / "scaling"
    scaled = scale_ladder(config, out, plugins=plugins, budget=options.budget, on_progress=print)
    write_scale(scaled, out)
    print(json.dumps(scaled.to_dict()["predicted"]), asdict(scaled.prediction.target), flush=True)
    return rows_of(name, scaled, full_run(config, work, plugins), f"plugin={plugin} {' '.join(settings)}")


def main() -> None:
    """Measure the data sets that are asked for."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    plugins, rows = load_plugins(), []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.data:
            work = (options.work or Path(temporary)) / name
            work.mkdir(parents=True, exist_ok=True)
            rows += measured(name, options, work, plugins)
    for row in rows:
        print(
            row["question"],
            row["subject"],
            row["x"],
            row["median"],
            row.get("low95", ""),
            row.get("high95", ""),
            sep="\t",
        )
    record(options.results, beside_earlier(options.results, rows))


if __name__ == "__main__":
    main()
