"""The worst case of the certificate as training data: the substitutions that lower a query's gap the most.

For an encoder that is a sum over words, replacing word w by s changes score(right) − score(wrong), up to a positive
factor, by (e(s) − e(w)) · (v_right − v_wrong), and the changes of several places add up. So the worst text within R
substitutions takes, at each place, the substitute of least change, and the R places where that is least.

Shapes: N queries, L labels, D width, S sites, M edits (a site with one of its substitutes), W distinct words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import (
    AdditiveEncoder,
    AugmentationContext,
    ConfigError,
    EpochModel,
    Positives,
    Substitutions,
    read_substitutions,
    replaced,
    require_share,
)
from xmc_robust.draws import digest, generator_of
from xmc_robust.edits import TextsEdits, list_edits

TEXTS_AT_ONCE = 1024
IntArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class WorstCase:
    """In each epoch a `share` of the queries, drawn anew, is rewritten against the model of the epoch's start.

    At most `radius` words (0 = every word) are replaced: those that bring the wrong label that scores highest closest
    to, or furthest above, the right label that scores highest. It is the attack that the certificate of
    `xmc check certify` says is worst for this pair. `substitutions`: `counterfitted`, `wordnet` or a file. For encoders
    whose embedding is a sum over words (`static`). An epoch costs one product of its queries with all labels more.

    Reference: Wu et al., CIKM 2022 (the attack set); the encoder's exact certificate is that of `xmc check certify`.
    """

    radius: int = 2
    share: float = 0.5
    substitutions: str = "counterfitted"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        require_share(self, "share")
        if self.radius < 0:
            raise ValueError(f"radius must be at least 1, or 0 for every word, got {self.radius}")

    def build(self, context: AugmentationContext) -> WorstRewriting:
        """See `xmc.api.AugmentationOptions`.

        Raises: ConfigError for an encoder that is no sum over words; DataError for a set that cannot be read.
        """
        if not isinstance(context.encoder, AdditiveEncoder):
            name = getattr(context.encoder, "name", type(context.encoder).__name__)
            raise ConfigError(
                f"augmentation 'robust.worst-case' needs an encoder that is a sum over words, got '{name}'.",
                hint="Use encoder.name=static, or augmentation.name=robust.random, which works with every encoder.",
            )
        return WorstRewriting(self, context, read_substitutions(self.substitutions))

    def fingerprint(self) -> str:
        """That of the substitution set."""
        return digest(read_substitutions(self.substitutions))


@dataclass(frozen=True, eq=False)
class WorstRewriting:
    """An `Augmentation` that attacks queries with the model of the start of the epoch."""

    options: WorstCase
    context: AugmentationContext
    substitutions: Substitutions
    needs_model: bool = True

    def rewrite(self, query_rows_N: IntArray, epoch: int, model: EpochModel | None) -> list[str]:
        """See `xmc.api.Augmentation`."""
        texts = [self.context.texts[row] for row in query_rows_N.tolist()]
        if model is None or self.options.share == 0:
            return texts
        places = np.flatnonzero([self._is_drawn(row, epoch) for row in query_rows_N.tolist()])
        rows = query_rows_N[places]
        right_N, wrong_N = strongest_labels(model, rows, self.context.positives.take(rows))
        for start in range(0, len(rows), TEXTS_AT_ONCE):
            part = slice(start, start + TEXTS_AT_ONCE)
            directions_ND = model.labels_LD[right_N[part]] - model.labels_LD[wrong_N[part]]
            before = [texts[place] for place in places[part].tolist()]
            edits = list_edits(before, self.substitutions)
            words_WD = model.encoder.word_sums(edits.words, "query")
            after = worst_texts(before, edits, words_WD, directions_ND, radius=self.options.radius)
            for place, text in zip(places[part].tolist(), after, strict=True):
                texts[place] = text
        return texts

    def _is_drawn(self, query_row: int, epoch: int) -> bool:
        return bool(generator_of(self.context.seed, epoch, query_row).random() < self.options.share)


def strongest_labels(model: EpochModel, query_rows: IntArray, positives: Positives) -> tuple[Tensor, Tensor]:
    """Of each query the relevant and the other label of the highest score, as label rows (N,); ties to the lower row.

    A query without one of the two has the same label twice, so that nothing can be gained by attacking it.
    """
    rights, wrongs, done = [], [], 0
    for scores_RL in model.scores(query_rows):
        part = positives.take(np.arange(done, done + len(scores_RL)))
        rows_P, labels_P = part.query_rows(), part.label_rows.astype(np.int64)
        scores_P = scores_RL[rows_P, labels_P].cpu().numpy()
        scores_RL[rows_P, labels_P] = -torch.inf
        highest_R, wrong_R = scores_RL.max(dim=1)
        right_R = wrong_R.cpu().numpy().copy()
        best_first = np.lexsort((labels_P, -scores_P, rows_P))
        first = best_first[np.flatnonzero(np.diff(rows_P[best_first], prepend=-1))]
        right_R[rows_P[first]] = labels_P[first]
        has_wrong_R = (highest_R > -torch.inf).cpu()
        rights.append(torch.from_numpy(right_R))
        wrongs.append(torch.where(has_wrong_R, wrong_R.cpu(), rights[-1]))
        done += len(scores_RL)
    none = torch.zeros(0, dtype=torch.int64)
    return torch.cat([none, *rights]), torch.cat([none, *wrongs])


def worst_texts(
    texts: Sequence[str], edits: TextsEdits, words_WD: Tensor, directions_ND: Tensor, *, radius: int
) -> list[str]:
    """Each text with the at most `radius` substitutions (0 = all sites) that lower its sum along its direction most.

    Naive: of all texts within the radius the one of least e(x') · direction. Ties go to the substitute that is listed
    first and to the place further left; a place where no substitute lowers the sum stays as it is.
    """
    changes_M = edit_changes(edits, words_WD, directions_ND)
    order = np.lexsort((np.arange(len(changes_M)), changes_M, edits.site_of_M))
    first = np.flatnonzero(np.diff(edits.site_of_M[order], prepend=-1))
    best_S = order[first]  # the edit of least change of each site; sites are numbered through, each has an edit
    least_S, text_of_S = changes_M[best_S], edits.text_of_M[best_S]
    ranked = np.lexsort((np.arange(len(best_S)), least_S, text_of_S))
    starts_N = np.searchsorted(text_of_S[ranked], np.arange(len(texts)))
    rank_S = np.arange(len(ranked)) - starts_N[text_of_S[ranked]]
    taken = ranked[(least_S[ranked] < 0) & ((rank_S < radius) | (radius == 0))]
    put: dict[int, list[int]] = {}
    for site in taken.tolist():
        put.setdefault(int(text_of_S[site]), []).append(int(best_S[site]))
    return [
        replaced(text, [edits.substitution(edit) for edit in put[number]]) if number in put else text
        for number, text in enumerate(texts)
    ]


def edit_changes(edits: TextsEdits, words_WD: Tensor, directions_ND: Tensor) -> np.ndarray[Any, Any]:
    """What each edit adds to the sum of its text along its direction, (M,) float64."""
    changes, size = [np.zeros(0)], 16 * TEXTS_AT_ONCE
    for start in range(0, len(edits.site_of_M), size):
        part = slice(start, start + size)
        gained_MD = words_WD[edits.new_word_M[part]] - words_WD[edits.old_word_M[part]]
        along_M = (gained_MD * directions_ND[edits.text_of_M[part]]).sum(dim=1)
        changes.append(along_M.double().cpu().numpy())
    return np.concatenate(changes)
