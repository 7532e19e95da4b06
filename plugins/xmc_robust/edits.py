"""All single substitutions of many texts as flat arrays, so that their effects are computed together.

Shapes: N texts, M edits (a site with one of its substitutes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmc.api import Site, Substitutions

IntArray = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TextsEdits:
    """Edit m puts `words[new_word_M[m]]` in the place of `words[old_word_M[m]]`, at a site of text `text_of_M[m]`.

    Edits come text by text and site by site; `site_of_M` numbers the sites of all texts through, from 0. Old words are
    spelled as in the text, as the encoder sees them.
    """

    words: list[str]
    sites: list[Site]
    text_of_M: IntArray
    site_of_M: IntArray
    old_word_M: IntArray
    new_word_M: IntArray

    def substitution(self, edit: int) -> tuple[Site, str]:
        """Where an edit is made, and the word that it puts there."""
        return self.sites[int(self.site_of_M[edit])], self.words[int(self.new_word_M[edit])]


def list_edits(texts: Sequence[str], substitutions: Substitutions) -> TextsEdits:
    """The edits that `substitutions` allow in these texts.

    >>> edits = list_edits(["Car sea", "old car"], Substitutions({"car": ("auto", "cab"), "sea": ("ocean",)}))
    >>> edits.words
    ['Car', 'auto', 'cab', 'sea', 'ocean', 'car']
    >>> edits.text_of_M.tolist(), edits.site_of_M.tolist(), edits.new_word_M.tolist()
    ([0, 0, 0, 1, 1], [0, 0, 1, 2, 2], [1, 2, 4, 1, 2])
    """
    number: dict[str, int] = {}
    sites: list[Site] = []
    rows: list[tuple[int, int, int, int]] = []
    for text_number, text in enumerate(texts):
        for site in substitutions.sites(text):
            old = number.setdefault(text[site.start : site.stop], len(number))
            new = [number.setdefault(word, len(number)) for word in site.substitutes]
            rows += [(text_number, len(sites), old, one) for one in new]
            sites.append(site)
    text_of_M, site_of_M, old_word_M, new_word_M = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return TextsEdits(list(number), sites, text_of_M, site_of_M, old_word_M, new_word_M)
