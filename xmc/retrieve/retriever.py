"""Load a trained run and search it: the embedded form of xmc."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import DataError, Hits
from xmc.counted import counted
from xmc.given_numbers import true_or_false
from xmc.given_paths import given_path
from xmc.retrieve.fitted import Fitted
from xmc.retrieve.judging import judge, search_and_judge
from xmc.retrieve.label_filter import LabelFilter, as_filter, make_filter
from xmc.retrieve.no_match import warn_of_no_match
from xmc.retrieve.query_checks import check_texts
from xmc.retrieve.stages import Stages
from xmc.values import Hit

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index, IndexReport
    from xmc.plugin_manager import Plugins
    from xmc.retrieve.label_sets import Risk
    from xmc.retrieve.opening import Opened


@dataclass(frozen=True)
class Retriever(Stages):
    """A trained encoder with the index over its labels. Immutable and safe to search from several threads.

    `labels` are sorted by label id, which is what makes equal scores come in the order of their ids.
    """

    fitted: Fitted = field(default_factory=Fitted)
    index_sha256: str = ""
    labels_sha256: str = ""  # of the edits that the index was built without; empty when it has them all
    opened: Opened | None = None

    def __repr__(self) -> str:
        run = f" of {self.opened.run}" if self.opened else ""
        rerankers = ", with a second stage" if self.reranking else ""
        return f"<Retriever{run}: {counted(len(self.labels), 'label')}, index {self.report.backend}{rerankers}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Retriever cannot be pickled: send the path of its run, and open it there: Retriever.load.")

    def __copy__(self) -> Retriever:
        return self  # nothing in it changes

    def __deepcopy__(self, memo: object) -> Retriever:
        return self

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        plugins: Plugins | None = None,
        reranked: bool = True,
        index: Index | None = None,
        warn: bool = True,
    ) -> Retriever:
        """Open the run that `xmc train` made; every file is verified before it is read.

        `device` is `auto`, `cpu` or `cuda`; `reranked=False` leaves out the second stage of a run that has one; `index`
        stands in for the run's own, which is then not loaded (its parts are held by other processes, say).
        An XmcWarning says when probabilities were fitted to other labels, another index or another encoder than are
        there now. `warn=False` silences it, also in `reload_if_changed`, and the warnings of searches; `fitted` has it.
        Another XmcWarning says when a plugin file that the run was made with has changed.
        Raises: ConfigError for what is no path; ArtifactError when the folder is not a run, is half or damaged, or when
        its index or reranker was made for another encoder; PluginError when it needs a plugin that is not installed.
        """
        from xmc.retrieve.opening import open_run

        reranked, warn = true_or_false(reranked, name="reranked"), true_or_false(warn, name="warn")
        folder = given_path(run, name="run")
        parts = open_run(folder, device=device, plugins=plugins, reranked=reranked, index=index, warn=warn)
        retriever = cls(**parts)
        if warn:
            retriever.fitted.warn()
        return retriever

    def reload_if_changed(self) -> Retriever:
        """This retriever, or a new one when something was committed to the run since; cheap when nothing was.

        What did not change is shared with the new one: after an edit of labels only the edits are read.
        Raises: as `load`; this retriever goes on working.
        """
        from xmc.retrieve.opening import reopened

        parts = reopened(self.opened)
        if not parts:
            return self
        newer = Retriever(**parts)
        if newer.opened and newer.opened.warn:
            newer.fitted.warn(known=self.fitted)
        return newer

    @property
    def report(self) -> IndexReport:
        """What the index is; `choice` and `query_weight` as they were noted when it was built."""
        report = self.index.report
        return replace(report, **self.opened.built.noted) if self.opened else report

    @property
    def generation(self) -> str:
        """A name for the committed state that answers come from: it changes with every commit that could change one."""
        return self.opened.generation if self.opened else ""

    @property
    def identity(self) -> dict[str, str]:
        """The SHA-256 of what makes the scores: encoder (with head), index, and if any, later edits and reranker."""
        parts = {"encoder": self.model.sha256, "index": self.index_sha256}
        if self.labels_sha256:
            parts["labels"] = self.labels_sha256
        return parts | {"reranker": self.reranking.sha256} if self.reranking else parts

    def filter(self, label_ids: Iterable[str], *, ignore_unknown: bool = False) -> LabelFilter:
        """These labels, ready to be the `allowed` of any number of searches of this retriever.

        Raises: DataError naming label ids that are not there, unless they are to be ignored.
        """
        ignore_unknown = true_or_false(ignore_unknown, name="ignore_unknown")
        return make_filter(self.labels, label_ids, ignore_unknown=ignore_unknown, what="label_ids")

    def search(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
    ) -> list[list[Hit]]:
        """The best k labels of each text, best first; fewer when there are fewer labels.

        `allowed`, label ids or a `filter` of them, limits the search to these labels. After `xmc check calibrate` each
        hit has a probability, and `min_probability` leaves out hits below it: all of them when nothing matches. Where
        the best score of a query is exactly 0, for example because the encoder knows no word of it, the probability is
        0, and an XmcWarning tells of the hits that are returned all the same.
        Raises: DataError for a text that is not a non-blank string, and for an allowed label that is not there;
        ConfigError for k outside 1..10,000 or a probability outside 0..1; ArtifactError for `min_probability` without
        a calibration of this encoder and index.
        """
        hits, probabilities_H = self.judged_search(texts, k=k, min_probability=min_probability, allowed=allowed)
        warn_of_no_match(self, hits)
        return self._named(hits, probabilities_H)

    def search_sets(
        self,
        texts: Sequence[str],
        *,
        alpha: float = 0.1,
        risk: Risk = "false-negatives",
        allowed: Iterable[str] | LabelFilter | None = None,
    ) -> list[list[Hit]]:
        """For each text as many labels as it takes: on average at most a share alpha of its positives is missing.

        With `risk="coverage"` at least one positive is there with probability 1 - alpha. The promise holds for queries
        like those that `xmc check conformal` was calibrated on. `allowed` takes all other labels out of the sets; the
        promise is then about those positives that are allowed.
        Raises: ArtifactError before `xmc check conformal`; DataError when alpha is too small for what it was given, and
        for an allowed label that is not there.
        """
        label_filter = as_filter(self.labels, allowed)
        label_sets = self.fitted.require_label_sets()
        hits = self.hits(texts, k=label_sets.most_labels)
        warn_of_no_match(self, hits)
        hits, probabilities_H = self.judged_hits(label_sets.cut(hits, alpha=alpha, risk=risk))
        if label_filter is not None:
            hits, probabilities_H = label_filter.keep(hits, probabilities_H)
        return self._named(hits, probabilities_H)

    def threshold(
        self, *, precision: float | None = None, recall: float | None = None, false_positive_rate: float | None = None
    ) -> float:
        """The `min_probability` with which held-out queries reached the one given precision, recall or rate.

        Raises: ConfigError unless exactly one is given and can be reached; ArtifactError without a calibration.
        """
        cut_offs = self.fitted.require_calibration().cut_offs
        return cut_offs.choose(precision=precision, recall=recall, false_positive_rate=false_positive_rate)

    def search_vectors(
        self,
        queries_QD: Tensor,
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
    ) -> list[list[Hit]]:
        """`search` for queries that are embedded already, as `encode` does.

        Raises: as `search`; NonFiniteError for NaN and infinity; ConfigError for a run whose reranker reads texts.
        """
        label_filter = as_filter(self.labels, allowed)
        search = self.search_of_embeddings(queries_QD)
        judged = self.judged_by(search, k=k, min_probability=min_probability, label_filter=label_filter)
        warn_of_no_match(self, judged[0])
        return self._named(*judged)

    def judged_hits(self, hits: Hits, min_probability: float | None = None) -> tuple[Hits, Any]:
        """Hits of at least `min_probability` and the probability of each, (H,), None without a calibration.

        `hits` must be whole lists, as a search answers them, because a probability depends on the rank.
        Raises: DataError for what are no hits; ConfigError, ArtifactError as `search`.
        """
        if not isinstance(hits, Hits):
            raise DataError(f"hits must be those of a search, got {type(hits).__name__}.", hint="See `Retriever.hits`.")
        return judge(self, hits, min_probability)

    def judged_search(
        self,
        texts: Sequence[str],
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
    ) -> tuple[Hits, Any]:
        """`hits` of texts, and their probabilities as in `judged_hits`, also with a filter. Raises: as `search`."""
        label_filter = as_filter(self.labels, allowed)
        check_texts(texts)
        search = self.search_of(texts)
        return self.judged_by(search, k=k, min_probability=min_probability, label_filter=label_filter)

    def judged_by(
        self,
        search: Callable[..., Hits],
        *,
        k: int,
        min_probability: float | None = None,
        label_filter: LabelFilter | None = None,
    ) -> tuple[Hits, Any]:
        """The hits of `search(k=…, allowed=…)`, and their probabilities as in `judged_hits`.

        A filter does not change the probability of a hit. To find it, where there is a calibration that tells ranks
        apart, the same queries are searched a second time without the filter.
        """
        return search_and_judge(self, search, k=k, min_probability=min_probability, label_filter=label_filter)

    def search_table(
        self,
        table: Any,
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
    ) -> Any:
        """The hits of an Arrow table with `query_id`, and `text` or `embedding`: a row for each row, in their order.

        Columns: `query_id` as it came, `label_ids`, `scores`, `probabilities` (after `xmc check calibrate`) and
        `status`: `ok`, `no-match` where the best score is exactly 0, so that the hits are the first labels by id, or
        why the row could not be searched (`null`, `blank`, `too-long`, `invalid-text`, `not-finite`, `wrong-width`).
        Raises: DataError for what is no Arrow table, and for missing or wrong columns; as `search` for k,
        `min_probability` and `allowed`.
        """
        from xmc.retrieve.table_search import search_table

        return search_table(self, table, k=k, min_probability=min_probability, allowed=allowed)

    def search_batches(
        self,
        reader: Any,
        *,
        k: int = 10,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
    ) -> Iterator[Any]:
        """`search_table` for a stream: record batches of hits for those of a `pyarrow.RecordBatchReader`.

        Memory stays bounded: a batch of more than 1,024 rows is answered in parts.
        Raises: as `search_table`.
        """
        from xmc.retrieve.table_search import search_batches

        return search_batches(self, reader, k=k, min_probability=min_probability, allowed=allowed)

    def _named(self, hits: Hits, probabilities_H: Any) -> list[list[Hit]]:
        shown = [None] * len(hits.scores) if probabilities_H is None else probabilities_H.tolist()
        rows, scores = hits.label_rows.tolist(), hits.scores.tolist()
        return [
            [
                Hit(rank, self.labels.ids[rows[h]], self.labels.texts[rows[h]], scores[h], shown[h])
                for rank, h in enumerate(range(start, stop), start=1)
            ]
            for start, stop in itertools.pairwise(hits.offsets.tolist())
        ]
