"""Invariants: a reranker is fitted to the shortlists of the training queries, weighed on dev, stored, and used by every
verb; it is refused when the model under it has changed; a weight is kept only if it helps."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import xmc
from xmc.api import RerankerSpec, RerankQueries, hookimpl
from xmc.data.dataset import load_dataset
from xmc.engine.carried import Carried
from xmc.engine.describe import describe_run
from xmc.engine.evaluation import run_evaluation
from xmc.engine.fusion import FusionOptions, choose_fusion
from xmc.engine.index_rows import in_index, index_rows, train_counts
from xmc.engine.model_card import model_card
from xmc.engine.reranking import require_second_stage, run_reranking
from xmc.engine.run_config import read_run_config, resolve
from xmc.engine.separation import positive_scores
from xmc.errors import ArtifactError, ConfigError, DataError, XmcWarning
from xmc.evaluate.auc import pooled_auc
from xmc.plugin_manager import load_plugins
from xmc.retrieve.label_prior import LabelPrior
from xmc.retrieve.layout import reranker_store
from xmc.retrieve.no_reranker import NoReranker
from xmc.retrieve.opening import reopened
from xmc.retrieve.reranking import Reranking
from xmc.retrieve.run_state import identity_of
from xmc.values import Hits, Positives

CONTEXTS = []


@dataclass(frozen=True)
class WordOverlap:
    """Scores a label by how many words of its text the query has."""

    gain: float = 1.0

    def fit(self, context, *, progress):
        CONTEXTS.append(context)
        progress(1, 1)
        return Fitted(context.label_texts, self.gain)

    def load(self, folder):
        return Fitted(json.loads((folder / "texts.json").read_text()), self.gain)


@dataclass(frozen=True)
class Fitted:
    label_texts: list
    gain: float

    def scores(self, queries, hits):
        rows = np.repeat(np.arange(len(hits)), np.diff(hits.offsets))
        words = [set(text.split()) for text in queries.texts]
        pairs = zip(rows, hits.label_rows, strict=True)
        shared = [len(words[row] & set(self.label_texts[label].split())) for row, label in pairs]
        return np.array(shared, np.float32) * np.float32(self.gain)

    def save(self, folder: Path):
        (folder / "texts.json").write_text(json.dumps(list(self.label_texts)))


@pytest.fixture
def plugins(tmp_path):
    source = f"""
from xmc.api import RerankerSpec, hookimpl

@hookimpl
def xmc_rerankers():
    return [RerankerSpec("word-overlap", "{__name__}:WordOverlap")]
"""
    (tmp_path / "overlap.py").write_text(source)
    return load_plugins(plugin_file=tmp_path / "overlap.py")


def rerank(plugins, run, *settings):
    config = read_run_config(plugins, run, settings=("reranker.name=overlap.word-overlap", *settings))
    return run_reranking(config, run, plugins=plugins)


def test_fitted_weighed_stored_and_used(tiny_run_copy, plugins):
    first = xmc.Retriever.load(tiny_run_copy)
    report = rerank(plugins, tiny_run_copy, "fusion.depth=7", "fusion.negatives=4")
    context = CONTEXTS[-1]
    lengths = np.diff(context.shortlist.offsets)
    assert len(context.queries) == len(lengths) and set(lengths) == {4}
    assert report["chosen"]["ndcg_fused"] >= report["chosen"]["ndcg_first"] and report["depth"] == 7
    both = xmc.Retriever.load(tiny_run_copy, plugins=plugins)
    assert "| reranker | `overlap.word-overlap` |" in model_card(tiny_run_copy, plugins=plugins)
    assert both.reranking.weight == report["weight"] and both.identity["reranker"] and both.identity != first.identity
    texts = ["fog rain", "tender tram"]
    hits = first.hits(texts, k=7)
    assert np.array_equal(both.hits(texts, k=5).scores, both.reranking.rerank(first.prepare(texts), hits, 5).scores)
    alone = xmc.Retriever.load(tiny_run_copy, plugins=plugins, reranked=False)
    assert np.array_equal(alone.hits(texts, k=5).scores, first.hits(texts, k=5).scores)


def test_only_labels_with_enough_training_queries_are_known_to_the_second_stage(tiny_run_copy, plugins):
    first = xmc.Retriever.load(tiny_run_copy)
    config = read_run_config(plugins, tiny_run_copy)
    data = Carried().load(config)
    counts_L = train_counts(data, index_rows(data, first), labels=len(first.labels))
    least = int(np.median(counts_L)) + 1
    known = np.flatnonzero(counts_L >= least)
    assert 0 < len(known) < len(counts_L)
    report = rerank(plugins, tiny_run_copy, f"fusion.least_queries={least}", "fusion.weight=0.5", "fusion.depth=60")
    context = CONTEXTS[-1]
    assert list(context.label_texts) == [first.labels.texts[row] for row in known] and report["labels"] == len(known)
    assert len(context.positives.label_rows) == counts_L[known].sum()
    assert context.shortlist.label_rows.max() < len(known)
    assert set(np.diff(context.shortlist.offsets)) == {min(config.fusion.negatives, len(known))}
    both = xmc.Retriever.load(tiny_run_copy, plugins=plugins)
    queries = first.prepare(data.test.texts)
    hits = first.hits(data.test.texts, k=60)
    is_known_H = np.isin(hits.label_rows, known)
    second_H = both.reranking.second_scores(queries, hits)
    overlap_H = Fitted(first.labels.texts, 1.0).scores(queries, hits)
    assert set(second_H[~is_known_H].tolist()) == {np.float32(both.reranking.neutral)}
    assert np.array_equal(second_H[is_known_H], overlap_H[is_known_H]) and second_H[is_known_H].any()
    train = first.prepare(data.train.texts)
    shortlists = first.hits(data.train.texts, k=60)
    mean = Fitted(first.labels.texts, 1.0).scores(train, shortlists)[np.isin(shortlists.label_rows, known)].mean()
    assert both.reranking.neutral == pytest.approx(mean, abs=1e-6)


def test_a_second_stage_that_cannot_be_fitted_is_known_before_training(plugins):
    settings = ("data.name=tiny", "train.validation_share=0.0")
    config = resolve(plugins, plugin="linear.fused", settings=settings)
    data = load_dataset("tiny")
    data = replace(data, splits={"train": data.train})
    with pytest.raises(ConfigError, match="the weight of the second stage is chosen on a dev split, and there is none"):
        require_second_stage(config, data)
    for other in ("fusion.weight=0.5", "reranker.name=none"):
        require_second_stage(resolve(plugins, plugin="linear.fused", settings=(*settings, other)), data)


def test_no_label_with_so_many_training_queries(tiny_run_copy, plugins):
    with pytest.raises(ConfigError, match=r"no label has .*least_queries = 100,000 training queries.* has [0-9]+[.]"):
        rerank(plugins, tiny_run_copy, "fusion.least_queries=100000")


def test_the_auc_is_that_of_the_fused_scores_however_few_hits_are_asked_for(tiny_run_copy, plugins):
    rerank(plugins, tiny_run_copy, "reranker.gain=-1.0", "fusion.depth=25", "fusion.weight=0.2")  # positives sink
    settings = ["reranker.name=overlap.word-overlap", "evaluate.ks=[1]", "evaluate.auc_negatives=1"]
    config = read_run_config(plugins, tiny_run_copy, settings=settings)
    report = run_evaluation(config, tiny_run_copy, plugins=plugins)
    retriever, data = xmc.Retriever.load(tiny_run_copy, plugins=plugins), load_dataset("tiny")
    positives = in_index(data.test.positives, index_rows(data, retriever))
    every = retriever.hits(data.test.texts, k=60)
    scores_P = positive_scores(retriever, data.test.texts, every, positives)
    pooled = pooled_auc(every, positives, scores_P, labels=60, top_negatives=1)
    assert report.auc.value == pytest.approx(pooled.auc.value, abs=1e-6)


def test_refused_when_the_model_changed_and_missed_when_it_was_configured(tiny_run_copy, plugins):
    rerank(plugins, tiny_run_copy, "fusion.weight=1.0")
    store = reranker_store(tiny_run_copy)
    facts = {**store.current().manifest.facts, "encoder_sha256": "other"}
    with store.new_version(facts=facts) as folder:
        (folder / "reranker").mkdir()
        (folder / "reranker" / "texts.json").write_text("[]")
    with pytest.raises(ArtifactError, match="another encoder or other labels") as caught:
        xmc.Retriever.load(tiny_run_copy, plugins=plugins)
    assert "xmc rerank" in caught.value.hint


def test_the_settings_of_a_second_stage_are_kept_in_the_run(tiny_run_copy):
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 0.25, "fusion.depth": 7})
    again = xmc.rerank_run(tiny_run_copy)
    assert (again["prior"], again["depth"]) == (0.25, 7)
    assert read_run_config(load_plugins(), tiny_run_copy).train.epochs == 4  # of the training nothing changes


def killed(*given, **options):
    raise KeyboardInterrupt  # in place of what comes after the commit


@pytest.mark.parametrize("point", ["RunConfig.write_plugins", "RunConfig.write"])
def test_after_a_kill_between_the_commit_and_config_toml_the_same_stage_is_fitted_again(
    tiny_run_copy, monkeypatch, point
):
    xmc.rerank_run(tiny_run_copy, settings={"fusion.depth": 5, "fusion.prior": 1.0})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"xmc.engine.run_config.{point}", killed)
        xmc.rerank_run(tiny_run_copy, settings={"reranker.name": "bm25", "fusion.weight": 0.5, "fusion.prior": 0})
    before = xmc.Retriever.load(tiny_run_copy)
    assert before.reranking.weight == 0.5 and before.reranking.prior is None
    with pytest.warns(XmcWarning, match="config.toml of .* are not those of the second stage that is there"):
        again = xmc.rerank_run(tiny_run_copy)
    assert (again["reranker"], again["weight"], again["prior"], again["depth"]) == ("bm25", 0.5, 0, 5)
    kept = read_run_config(load_plugins(), tiny_run_copy)
    assert (kept.reranker.name, kept.fusion.weight, kept.fusion.depth) == ("bm25", 0.5, 5)
    assert xmc.rerank_run(tiny_run_copy, settings={"fusion.weight": 0.25})["reranker"] == "bm25"  # without a warning


def test_a_stage_whose_settings_are_not_known_is_fitted_as_config_toml_says(tiny_run_copy):
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 1.0, "fusion.depth": 7})
    store = reranker_store(tiny_run_copy)
    facts = dict(store.current().manifest.facts)
    del facts["settings"]  # as an earlier xmc
    with store.new_version(facts=facts):
        pass
    assert xmc.rerank_run(tiny_run_copy)["depth"] == 7
    (store.root / "CURRENT").write_text("damaged")
    assert xmc.rerank_run(tiny_run_copy)["depth"] == 7


@pytest.mark.filterwarnings("ignore:.*labels stand beside")
def test_training_queries_are_those_of_a_label_with_the_text_that_they_were_asked_for(tiny_run_copy, plugins):
    def counts_of(label_id):
        rerank(plugins, tiny_run_copy, "fusion.weight=0.5", "fusion.prior=0.5")
        opened = xmc.Retriever.load(tiny_run_copy, plugins=plugins)
        row, positives = opened.labels.ids.index(label_id), CONTEXTS[-1].positives
        return opened.reranking.prior.train_queries_L[row], (positives.label_rows == row).sum(), len(positives)

    label_id, text = next(iter(xmc.list_labels(tiny_run_copy).items()))
    count, in_context, queries = counts_of(label_id)
    assert count == in_context > 0
    xmc.replace_labels(tiny_run_copy, {label_id: "another text"})
    assert counts_of(label_id) == (0, 0, queries)  # the queries stay, without this positive
    xmc.index_run(tiny_run_copy)
    assert counts_of(label_id) == (0, 0, queries)
    xmc.replace_labels(tiny_run_copy, {label_id: text})
    assert counts_of(label_id) == (count, count, queries)
    xmc.put_labels(
        tiny_run_copy, {label_id: "new " + text for label_id, text in xmc.list_labels(tiny_run_copy).items()}
    )
    with pytest.raises(DataError, match="no query of the split 'train' has a positive") as caught:
        rerank(plugins, tiny_run_copy, "fusion.weight=0.5")
    assert "given other texts" in caught.value.hint


def test_without_a_reranker_there_is_nothing_to_fit(tiny_run_copy):
    with pytest.raises(ConfigError, match="no reranker is named") as caught:
        xmc.rerank_run(tiny_run_copy)
    assert f"xmc rerank --run {tiny_run_copy} --set reranker.name=NAME" in caught.value.hint
    assert "Installed: " in caught.value.hint and "linear.one-vs-rest" in caught.value.hint


TWO_HITS = Hits(np.array([0, 2], np.int64), np.array([0, 1]), np.array([2.0, 1.0], np.float32))


def only(row):
    return Positives(np.array([0, 1]), np.array([row], np.int32), np.ones(1, np.float32))


class Prefers1:
    def scores(self, queries, hits):
        return (hits.label_rows == 1).astype(np.float32)


def chosen(reranker, relevant, counts, **options):
    prior, fusion = LabelPrior(np.array(counts)), FusionOptions(k=1, **options)
    reranking = Reranking(reranker, 2, 0.0)
    return choose_fusion(
        reranking, RerankQueries(["a"], None), TWO_HITS, only(relevant), prior, fusion=fusion, labels=2
    )


def test_the_weight_is_kept_only_if_it_helps():
    assert chosen(Prefers1(), 0, [0, 0]).weight == 0
    helped = chosen(Prefers1(), 1, [0, 0])
    assert helped.weight > 1 and (helped.ndcg_first, helped.ndcg_fused, helped.prior) == (0, 1, 0)


def test_the_prior_is_chosen_as_the_weight_and_never_below_0():
    assert chosen(NoReranker(), 1, [0, 9]).prior == 0  # not asked for
    helped = chosen(NoReranker(), 1, [0, 9], prior="auto")
    assert helped.prior * np.log(10) > 1 and (helped.ndcg_first, helped.ndcg_fused, helped.weight) == (0, 1, 0)
    assert chosen(NoReranker(), 0, [0, 9], prior="auto").prior == 0
    assert chosen(NoReranker(), 1, [9, 0], prior="auto").prior == 0  # the label that is never asked for is the answer
    assert chosen(NoReranker(), 1, [3, 3], prior="auto").prior == 0  # no order changes
    assert chosen(NoReranker(), 0, [0, 9], prior=2.0).prior == 2.0


def test_weight_and_prior_are_chosen_one_after_the_other_until_neither_changes():
    """Query 0 needs the second stage, query 1 the prior, query 2 that neither is too large."""
    first = np.array([2, 1, 2, 1, 6, 1], np.float32)
    hits = Hits(np.array([0, 2, 4, 6], np.int64), np.array([0, 1, 2, 3, 0, 3]), first)
    positives = Positives(np.arange(4), np.array([1, 3, 0], np.int32), np.ones(3, np.float32))
    reranking, prior = Reranking(Prefers1(), 2, 0.0), LabelPrior(np.array([0, 0, 0, 9]))
    queries = RerankQueries(["a", "b", "c"], None)
    best = choose_fusion(reranking, queries, hits, positives, prior, fusion=FusionOptions(k=1, prior="auto"), labels=4)
    assert best.weight > 1 and 1 < best.prior * np.log(10) < 5 and best.ndcg_fused == 1


def test_a_prior_without_a_reranker(tiny_run_copy):
    first = xmc.Retriever.load(tiny_run_copy)
    report = xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 0.25, "fusion.depth": 7})
    assert (report["reranker"], report["prior"], report["chosen"]) == ("none", 0.25, None)
    assert describe_run(tiny_run_copy)["reranker prior"] == 0.25
    assert "Each of the first 7 labels of the index gains 0.25 x log(1 + its" in model_card(tiny_run_copy)
    both = xmc.Retriever.load(tiny_run_copy)
    data = load_dataset("tiny")
    counts_L = train_counts(
        Carried().load(read_run_config(load_plugins(), tiny_run_copy)), index_rows(data, both), labels=60
    )
    texts = data.test.texts[:20]
    for (rows, scores), (first_rows, first_scores) in zip(both.hits(texts, k=5), first.hits(texts, k=7), strict=True):
        added = first_scores + (0.25 * np.log1p(counts_L[first_rows])).astype(np.float32)
        order = np.lexsort((first_rows, -added))[:5]
        assert rows.tolist() == first_rows[order].tolist() and scores.tolist() == added[order].tolist()
    embedded = pa.FixedSizeListArray.from_arrays(pa.array(both.encode(texts).numpy().ravel()), both.encoder.dimension)
    queries = [{"query_id": texts, "text": texts}, {"query_id": texts, "embedding": embedded}]
    tables = [both.search_table(pa.table(columns), k=5) for columns in queries]
    assert tables[0]["label_ids"].equals(tables[1]["label_ids"])
    vectors = both.search_vectors(both.encode(texts), k=5)  # a prior reads no texts
    assert [[hit.label_id for hit in hits] for hits in vectors] == [
        [hit.label_id for hit in hits] for hits in both.search(texts, k=5)
    ]


def test_prior_0_without_a_reranker_is_the_way_back_to_the_first_stage(tiny_run_copy):
    first = xmc.Retriever.load(tiny_run_copy)
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 1.0})
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 0})
    back = xmc.Retriever.load(tiny_run_copy)
    assert back.reranking is None and reopened(back.opened) is None
    assert back.identity == first.identity == identity_of(tiny_run_copy)
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 1.0})
    assert reopened(back.opened)["reranking"].prior.strength == 1


def test_a_label_that_was_added_or_replaced_later_has_the_mean_prior(tiny_run_copy):
    xmc.rerank_run(tiny_run_copy, settings={"fusion.prior": 1.0, "fusion.depth": 60})
    before = xmc.Retriever.load(tiny_run_copy)
    xmc.add_labels(tiny_run_copy, {"a0": "fog over the harbour"})  # its row is the first one: all others move
    after = xmc.Retriever.load(tiny_run_copy)
    row = after.labels.ids.index("a0")
    prior = after.reranking.prior
    logs = np.log1p(before.reranking.prior.train_queries_L)
    assert prior.of(np.array([row])) == pytest.approx(prior.neutral) and 0 < prior.neutral < logs.max()
    kept = np.delete(np.arange(len(after.labels)), row)
    assert np.array_equal(prior.of(kept), before.reranking.prior.of(np.arange(len(before.labels))))
    often = before.labels.ids[int(logs.argmax())]
    xmc.replace_labels(tiny_run_copy, {often: "another text"})  # nobody was asked for that one
    replaced = xmc.Retriever.load(tiny_run_copy)
    row = replaced.labels.ids.index(often)
    assert replaced.reranking.prior.of(np.array([row])) == pytest.approx(prior.neutral)


def test_a_run_with_a_prior_that_was_never_fitted_is_refused(tmp_path):
    settings = {"train.epochs": 1, "encoder.dimension": 16, "fusion.prior": "auto"}
    xmc.train_run("tiny", tmp_path / "run", settings=settings)
    assert xmc.Retriever.load(tmp_path / "run").reranking is not None
    shutil.rmtree(tmp_path / "run" / "reranker")
    (tmp_path / "run" / "encoder" / "has-reranker").unlink()  # as if `xmc train` was killed before it was fitted
    with pytest.raises(ArtifactError, match="configured with the second stage 'prior', which was never fitted"):
        xmc.Retriever.load(tmp_path / "run")


def test_words_of_a_label_that_was_added_later_count(tiny_run_copy):
    settings = {"reranker.name": "bm25", "fusion.weight": 0.5, "fusion.depth": 80}
    xmc.rerank_run(tiny_run_copy, settings=settings)
    words = xmc.Retriever.load(tiny_run_copy).labels.texts[0].split()
    new = " ".join(words[::-1])  # the same words, so the same BM25
    xmc.add_labels(tiny_run_copy, {"a0": new, "a1": "wholly unknown"})

    def second_scores():
        after = xmc.Retriever.load(tiny_run_copy)
        hits = after.hits([new], k=len(after.labels))
        scores_H = after.reranking.second_scores(after.prepare([new]), hits)
        return {after.labels.ids[row]: score for row, score in zip(hits.label_rows, scores_H, strict=True)}

    scores = second_scores()
    first = xmc.Retriever.load(tiny_run_copy).labels
    assert scores["a0"] == scores[first.ids[first.texts.index(" ".join(words))]] > 0 == scores["a1"]
    xmc.compact_labels(tiny_run_copy)
    assert second_scores() == scores
    xmc.rerank_run(tiny_run_copy, settings=settings | {"fusion.least_queries": 1})
    known = xmc.Retriever.load(tiny_run_copy).reranking
    assert second_scores()["a0"] == np.float32(known.neutral) and known.fitted_rows_L is not None


@pytest.mark.parametrize(
    "options", [{"depth": 0}, {"negatives": 0}, {"k": 0}, {"weight": -1.0}, {"least_queries": -1}, {"prior": -1.0}]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FusionOptions(**options)


def test_the_spec_is_declared():
    assert RerankerSpec("a", "b:C").kind == "reranker" and hookimpl
