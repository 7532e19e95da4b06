"""Invariants, on real small trainings of the shipped data: a ladder is trained within its budget and once only; points
are those of the runs; the prediction comes with report and picture; finished runs do as well; what cannot be predicted
is refused; log loss and P@1 equal the loops."""

import json
import math
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import xmc
from xmc.data.dataset import load_dataset
from xmc.encode.encoder import embed_texts
from xmc.engine.held_out_loss import held_out_loss, log_losses
from xmc.engine.ladder import ladder
from xmc.engine.run_config import resolve
from xmc.engine.run_sizes import measured_point, planned_size
from xmc.engine.scaling import trained_point
from xmc.engine.training_set import load_for_training
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.plugin_manager import load_plugins
from xmc.privacy.privatise import privatise
from xmc.retrieve.trained_model import load_model
from xmc.values import Positives

SETTINGS = ("encoder.dimension=16", "train.epochs=1", "train.batch_size=32", "train.learning_rate=0.02")


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def config(plugins):
    return resolve(plugins, plugin="dexml", settings=SETTINGS, flags={"data": {"name": "tiny"}})


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    out = tmp_path_factory.mktemp("scaling") / "out"
    return out, xmc.scale_run("tiny", out, settings=SETTINGS, budget=1.0)


def test_the_ladder_keeps_the_budget_and_writes_what_it_found(scaled, config, plugins):
    out, found = scaled
    points, target = found.prediction.points, found.prediction.target
    assert len(points) == 6 and {point.size.dimension for point in points} == {8, 16}
    spent = sum(point.size.queries * point.size.dimension for point in points)
    assert spent == pytest.approx(target.queries * target.dimension, rel=0.01)  # whole queries: 38, 76 and 152
    assert sum(point.size.compute for point in points) == pytest.approx(target.compute, rel=0.1)  # labels a query vary
    assert target == planned_size(config, load_for_training(config), plugins=plugins)
    assert target.pairs == len(load_dataset("tiny").train.positives.label_rows)
    assert all(point.held_out == len(load_dataset("tiny").dev) and 0 <= point.p1 <= 1 for point in points)
    report = json.loads((out / "report.json").read_text())
    assert report == json.loads(json.dumps(found.to_dict())) and report["seconds_are"] == "processor"
    assert {path.name for path in out.iterdir()} == {"points", "report.json", "scale.png", "scale.svg"}


def test_a_rung_that_is_there_is_not_trained_again_unless_its_settings_differ(scaled):
    out, found = scaled
    again = xmc.scale_run("tiny", out, settings=SETTINGS, budget=1.0)
    assert again.prediction.points == found.prediction.points  # seconds of processors would differ
    assert len(list((out / "points").iterdir())) == 6
    path = out / "points" / "152x16.json"
    kept = json.loads(path.read_text())
    kept["made_of"]["config"]["train"]["learning_rate"] = 0.01
    path.write_text(json.dumps(kept))
    other = xmc.scale_run("tiny", out, settings=SETTINGS, budget=1.0).prediction.points
    changed = [new.name for new, old in zip(other, found.prediction.points, strict=True) if new.seconds != old.seconds]
    assert changed == ["152x16"] and [point.loss for point in other] == [
        point.loss for point in found.prediction.points
    ]


def test_a_run_beside_the_ladder_stays_whatever_it_is_named(scaled, tmp_path):
    xmc.train_run("tiny", tmp_path / "training", settings=SETTINGS)
    shutil.copytree(scaled[0] / "points", tmp_path / "points")
    (tmp_path / "points" / "152x16.json").unlink()  # so that one rung is trained
    before = {path: path.read_bytes() for path in (tmp_path / "training").rglob("*") if path.is_file()}
    xmc.scale_run("tiny", tmp_path, settings=SETTINGS, budget=1.0)
    assert before == {path: path.read_bytes() for path in (tmp_path / "training").rglob("*") if path.is_file()}


def test_a_student_under_its_teachers_vectors_has_their_width_on_every_rung(tiny_run, plugins, tmp_path):
    teacher = tmp_path / "teacher"
    xmc.teach(tiny_run, "tiny", teacher, k=5)
    settings = (*SETTINGS, "encoder.dimension=32", "train.label_text_share=0", f"teacher.path={teacher}")
    student = resolve(plugins, plugin="distill", settings=settings, flags={"data": {"name": "tiny"}})
    data = load_for_training(student)
    rungs = ladder(student, data, budget=1.0)
    assert [rung.config.encoder.options.dimension for rung in rungs] == [32] * 6
    assert len({rung.config.data.train_queries for rung in rungs}) == 6
    assert planned_size(student, data, plugins=plugins).dimension == 32


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for queries in (40, 80, 160, 240, 320):
        xmc.train_run("tiny", folder / str(queries), settings=(*SETTINGS, f"data.train_queries={queries}"))
    return {path.name: path for path in folder.iterdir()}


def test_finished_runs_are_read(runs, config, plugins):
    found = xmc.scale_run(runs=runs, pairs=100_000).prediction
    by_name = {point.name: point for point in found.points}
    for name, run in runs.items():
        report = json.loads((run / "train.json").read_text())
        assert by_name[name].p1 == pytest.approx(report["best_validation_p1"])
        assert by_name[name].seconds == report["train_s"]
        assert by_name[name].size.parameters == report["plan"]["parameter_bytes"] // 4
        assert by_name[name].size.steps == report["plan"]["steps"] == math.ceil(int(name) / 32)
    assert found.target.pairs == 100_000 and found.target.parameters == by_name["320"].size.parameters
    wanted = planned_size(config, load_for_training(config), plugins=plugins)
    assert xmc.scale_run("tiny", runs=runs, settings=SETTINGS).prediction.target == wanted


def test_refusals(runs, config, plugins, tmp_path):
    with pytest.raises(ConfigError, match="which run is to be predicted"):
        xmc.scale_run(runs=runs)
    with pytest.raises(DataError, match="at least 5 finished runs, got 2"):
        xmc.scale_run(runs=dict(list(runs.items())[:2]), pairs=10_000)
    with pytest.raises(ConfigError, match="the small trainings need a folder"):
        xmc.scale_run("tiny")
    for more, message in (
        ({"pairs": 9}, "pairs=9 is for finished runs alone"),
        ({"parameters": 9, "runs": runs}, "parameters=9 is for finished runs alone"),
        ({"pairs": -9}, "pairs must be 0 or more, got -9"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"budget": 0.5, "runs": runs}, "budget=0.5 is for the small trainings"),
    ):
        with pytest.raises(ConfigError, match=message):
            xmc.scale_run("tiny", tmp_path / "out", **more)
    with pytest.raises(ConfigError, match=r"settings such as train\.epochs describe"):
        xmc.scale_run(runs=runs, pairs=10_000, settings=["train.epochs=9"])
    for budget in (0.0, -1.0, 1.5, math.nan):
        with pytest.raises(ConfigError, match="budget is a share"):
            ladder(config, load_for_training(config), budget=budget)
    with pytest.raises(ConfigError, match="at least 16 are needed"):
        ladder(config, load_for_training(config), budget=0.01)
    linear = resolve(plugins, plugin="linear", flags={"data": {"name": "tiny"}})
    with pytest.raises(ConfigError, match="fitted in one go"):
        planned_size(linear, load_for_training(linear), plugins=plugins)
    untrained = replace(config, train=replace(config.train, epochs=0))
    with pytest.raises(ConfigError, match="nothing is trained"):
        planned_size(untrained, load_for_training(untrained), plugins=plugins)
    with pytest.raises(ArtifactError, match="not a finished run"):
        measured_point("a", tmp_path, config, load_for_training(config), plugins=plugins)
    with pytest.raises(DataError, match="another state of the data set"):
        measured_point("a", runs["40"], config, load_for_training(config), plugins=plugins)


def test_the_seconds_of_the_first_training_are_not_those_of_loading_libraries(config, plugins, tmp_path, monkeypatch):
    class StartedError(Exception):
        pass

    def clock():
        raise StartedError("matplotlib.pyplot" in sys.modules)

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    monkeypatch.setattr("time.process_time", clock)
    with pytest.raises(StartedError, match="True"):
        trained_point("first", config, tmp_path / "run", load_dataset("tiny"), held_out=10, plugins=plugins)


def test_held_out_queries_in_bags_are_refused_before_anything_is_trained(tmp_path):
    privatise("tiny", tmp_path / "private", epsilon="1", bag_size=4)
    for share, message in ((0.1, "held-out queries of the training are in bags"), (0.0, "no held-out queries")):
        with pytest.raises(DataError, match=message):
            settings = [*SETTINGS, f"train.validation_share={share}"]
            xmc.scale_run(tmp_path / "private", tmp_path / "out", plugin="aggregate", settings=settings, budget=1.0)
    assert not (tmp_path / "out").exists()


def test_what_auto_comes_to_on_all_the_data_holds_on_a_part(config):
    """A part of the data leaves more labels without a query, which must not make label texts join."""
    data = load_for_training(config)
    assert {rung.config.train.label_text_share for rung in ladder(config, data, budget=1.0)} == {0.0}
    joined = replace(config, train=replace(config.train, label_text_share=0.5))
    shares = {rung.config.train.label_text_share for rung in ladder(joined, data, budget=1.0)}
    assert shares == {60 / len(data.train)}  # no more than there are label texts


def test_an_encoder_without_a_width_gets_more_sizes(plugins):
    settings = ("encoder.name=sentence-transformers", "encoder.model=any")
    config = resolve(plugins, plugin="dexml", settings=settings, flags={"data": {"name": "tiny"}})
    rungs = ladder(config, load_for_training(config), budget=1.0)
    assert [rung.name for rung in rungs] == sorted((rung.name for rung in rungs), key=int) and len(rungs) == 6


def test_log_losses_equal_the_loop():
    generator = torch.Generator().manual_seed(3)
    scores_QL = torch.randn(4, 7, generator=generator) * 3
    positives = Positives(np.array([0, 1, 3, 5, 6]), np.array([2, 0, 6, 3, 4, 1], np.int32), np.ones(6, np.float32))
    found = log_losses(scores_QL.clone(), positives, 0.7)
    for query in range(4):
        own = positives.label_rows[positives.offsets[query] : positives.offsets[query + 1]].tolist()
        exps = [math.exp(float(score) / 0.7) for score in scores_QL[query]]
        against = sum(value for label, value in enumerate(exps) if label not in own)
        wanted = np.mean([-math.log(exps[label] / (exps[label] + against)) for label in own])
        assert float(found[query]) == pytest.approx(wanted, rel=1e-5)


HEADS = {"dual-encoder": (), "classifier": ("head.name=classifier", "train.label_text_share=0"), "zloss.factored": ()}


@pytest.mark.parametrize("head", HEADS)
def test_labels_lie_where_the_encoder_lies(tmp_path, plugins, head):
    """torch's device `meta` stands for a GPU: it has shapes and no numbers, and refuses to be mixed with the CPU."""
    plugin = head if "." in head else "dexml"
    settings = (*HEADS[head], "train.epochs=0", "encoder.dimension=16", "train.device=cpu")
    xmc.train_run("tiny", tmp_path, plugin=plugin, settings=settings)
    model = load_model(tmp_path, plugins=plugins)
    model.encoder.module.to("meta")
    chunks, query_map = model.label_vectors(load_dataset("tiny").labels)
    assert {chunk.device.type for chunk in chunks} == {"meta"}
    queries_QD = embed_texts(model.encoder, ["tram"], "query")
    assert (query_map.queries(queries_QD) if query_map else queries_QD).device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("head", HEADS)
def test_a_gpu_finds_the_loss_of_the_processor(tmp_path, plugins, head):
    xmc.train_run("tiny", tmp_path, plugin=head if "." in head else "dexml", settings=HEADS[head])
    data, model = load_dataset("tiny"), load_model(tmp_path, plugins=plugins)
    on_cpu, on_gpu = (held_out_loss(model, data.labels, data.dev, device=device) for device in ("cpu", "cuda"))
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-3) and on_gpu.p1 == pytest.approx(on_cpu.p1, abs=0.02)


def test_the_temperature_is_the_best_and_the_scale_of_scores_means_nothing(tiny_run, plugins):
    data = load_dataset("tiny")
    model = load_model(tiny_run, plugins=plugins)
    found = held_out_loss(model, data.labels, data.dev)
    chunks, _ = model.label_vectors(data.labels)
    scores_QL = embed_texts(model.encoder, data.dev.texts, "query") @ torch.cat(list(chunks)).T
    for times in (0.5, 0.8, 1.25, 2.0):
        other = float(log_losses(scores_QL, data.dev.positives, times * found.temperature).double().mean())
        assert other > found.loss
    assert found.loss < math.log(len(data.labels)) and found.queries == len(data.dev)
