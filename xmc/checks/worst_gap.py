"""How far an attacker of a query can bring one label towards another: the worst gap of pairs of labels.

Shapes: C candidate labels, K leading ones among them, R radii, F features, W groups, M edits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xmc.checks.additive import radius_of
from xmc.checks.least_sums import least_per_group, sums_of_least
from xmc.checks.text_edits import Edit, Floats, TextEdits, bag_sums, bounded_quotient
from xmc.substitutions.word_sets import Site


def worst_gaps(edits: TextEdits, labels_CD: Tensor, leading: int, radii: Sequence[int]) -> Floats:
    """The least of score(l) − score(m) over all texts within each radius, (R, K, C), for l the first `leading` labels.

    gap(x) + Σ over the R worst sites of min(0, min over substitutes of what the gap gains); 0 = all sites. Exact where
    `edits.exact`, else a lower bound. In the units of the undivided sum (see `AdditiveTexts.edits`), in the precision
    of `labels_CD`.
    """
    products_FC = edits.vectors_FD.to(labels_CD.dtype) @ labels_CD.T
    blocks_BC = (edits.base_BF.to(labels_CD.dtype) @ products_FC).double().numpy()
    gains_MC = bag_sums(edits.changes, products_FC).numpy()
    counts_W = edits.counts_W()
    gaps_RKC = np.empty((len(radii), leading, labels_CD.shape[0]))
    for row in range(leading):
        values_MC = gains_MC[:, row, None] - gains_MC
        if edits.spreads is not None:
            values_MC -= bag_sums(edits.spreads, (products_FC[:, row, None] - products_FC).abs()).numpy()
        gap_C = bounded_quotient(blocks_BC[:, row, None] - blocks_BC, edits.shortest_B, edits.longest_B)
        least_WC = least_per_group(values_MC, edits.level_sizes)
        gaps_RKC[:, row] = gap_C + sums_of_least(least_WC, counts_W, radii)
    return gaps_RKC


def largest_shifts(edits: TextEdits, radii: Sequence[int]) -> Floats:
    """An upper bound on how far the sum can move within each radius, (R,): no score moves by more times ‖v‖."""
    sizes_M = torch.linalg.vector_norm(bag_sums(edits.changes, edits.vectors_FD), dim=1)
    if edits.spreads is not None:
        sizes_M = sizes_M + bag_sums(edits.spreads, edits.vectors_FD.norm(dim=1, keepdim=True))[:, 0]
    least_W1 = least_per_group(-sizes_M.numpy()[:, None], edits.level_sizes)
    return -sums_of_least(least_W1, edits.counts_W(), radii)[:, 0]


def worst_substitutions(
    edits: TextEdits, direction_D: Tensor, radius: int, extra: Floats | None = None
) -> list[tuple[Site, str]]:
    """The substitutions, `radius` at most, that lower e(x) · u the most: the witness of `worst_gaps`, u = v_l − v_m.

    `extra` is added to the value of each edit, (M,).
    """
    values_M = edits.least((edits.vectors_FD @ direction_D.double())[:, None])[:, 0]
    if extra is not None:
        values_M = values_M + extra
    best: dict[int, tuple[float, Edit]] = {}
    for row, value in enumerate(values_M.tolist()):
        group, edit = edits.edit_of(row)
        if value < best.get(group, (0.0, edit))[0]:
            best[group] = (value, edit)
    ranked = sorted((value, site, edit) for group, (value, edit) in best.items() for site in edits.groups[group].sites)
    return [(edits.sites[site], edit.substitute) for _, site, edit in ranked[: radius_of(radius, len(edits.sites))]]


def summed_terms(edits: TextEdits, radius: int) -> int:
    """How many features and columns a score is summed of within a radius (0 = all), and room for some more roundings.

    See `xmc.checks.rounding`; n features are those of the text and of so many edits.
    """
    features = len(edits.rows_F)
    if radius:
        longest = int(np.diff(edits.changes.offsets).max(initial=0))
        features = min(features, int(torch.count_nonzero(edits.base_BF)) + radius * longest)
    return features + edits.vectors_FD.shape[1] + 24
