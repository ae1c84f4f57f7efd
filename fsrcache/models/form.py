"""What a feature is: a plain vector, or the triangle of a symmetric matrix."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FeatureForm:
    """What a feature is.

    Attributes
    ----------
    length
        P, its numbers.
    side
        D, where it is the triangle of a D x D symmetric matrix; None for a plain vector.
    """

    length: int
    side: int | None = None
