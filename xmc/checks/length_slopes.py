"""How the length of a block of TF-IDF weights follows single edits, as bounds that add up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LengthSlopes:
    """Bounds of f(z) = 1 / sqrt(length² + z) − 1 / length that add up over edits; z is what they add to the square.

    f is convex and falls: it lies above its tangent in 0, and below the chord from 0 to the end of its range on the
    side of z. The chord of z < 0 is the steeper one, so the sum of the edits' chords lies above f(Σ z) for edits of
    either sign.
    """

    tangent: float
    chord_below: float
    chord_above: float

    @classmethod
    def of(cls, lengths: tuple[float, float, float], least: float, scale: float) -> LengthSlopes | None:
        """The slopes of a block; None for one that may lose its last feature, where the squares say nothing."""
        length, shortest, longest = lengths
        if shortest <= least:
            return None
        tangent = -1 / (2 * length**3)
        below, above = (
            (1 / end - 1 / length) / (end**2 - length**2) if abs(end - length) > 1e-6 * length else tangent
            for end in (shortest, longest)
        )
        return cls(tangent / scale, min(below, tangent) / scale, max(above, tangent) / scale)

    def range_of(self, square: tuple[float, float]) -> tuple[float, float]:
        """What an edit with this range of z has as its share in a lower and in an upper bound of f.

        >>> slopes = LengthSlopes.of((2.0, 1.0, 3.0), 0.1, 1.0)
        >>> slopes.range_of((0.0, 1.0)), round(1 / 5**0.5 - 1 / 2, 4)
        ((-0.0625, -0.0), -0.0528)
        """
        low, high = square
        return self.tangent * high, low * (self.chord_below if low < 0 else self.chord_above)
