"""The bags of the texts that vocabularies were just learned from, kept until they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from xmc.encode.bags import Bags, concatenate
from xmc.encode.word_bags import BlockOptions, WordBags


class LearnedBags:
    """Vocabularies, and for one call the bags of the corpus they come from: words are looked up once, not twice.

    >>> learned = LearnedBags.learn(["red fish", "blue fish"], BlockOptions())
    >>> learned.transform(["red fish", "blue fish", "red"]).ids.tolist()
    [1, 2, 0, 1, 2]
    """

    def __init__(self, bags: WordBags, texts: Sequence[str] = (), of_texts: Bags | None = None) -> None:
        self.bags = bags
        self._kept = None if of_texts is None else (list(texts), of_texts)

    @classmethod
    def learn(cls, texts: Sequence[str], options: BlockOptions) -> LearnedBags:
        """Vocabularies of a corpus, and its bags."""
        bags, of_texts = WordBags.learn_and_transform(texts, options)
        return cls(bags, texts, of_texts)

    def transform(self, texts: Sequence[str]) -> Bags:
        """`bags.transform`; the first call reuses the bags of the corpus if `texts` begin with it.

        After the first call nothing is kept, whatever it was called with.
        """
        kept, self._kept = self._kept, None
        if kept is None:
            return self.bags.transform(texts)
        known, of_known = kept
        if list(texts[: len(known)]) != known:
            return self.bags.transform(texts)
        return (
            concatenate([of_known, self.bags.transform(texts[len(known) :])]) if len(texts) > len(known) else of_known
        )
