"""What a feature is: a plain vector, or the triangle of a symmetric matrix; and what stands beside it."""

from dataclasses import dataclass

from fsrcache.errors import FsrcacheError
from fsrcache.spd import vech_length


@dataclass(frozen=True)
class FeatureForm:
    """What a feature is.

    Attributes
    ----------
    length
        P, the number of its values.
    side
        D, where it is the triangle of a D x D symmetric matrix; None for a plain vector.
    early
        Q, the number of values of the early features beside it, which an earlier layer gives; 0 for none.

    Raises
    ------
    FsrcacheError
        If the triangle of such a matrix has another length.
    """

    length: int
    side: int | None = None
    early: int = 0

    def __post_init__(self) -> None:
        if self.side is not None and vech_length(self.side) != self.length:
            raise FsrcacheError(
                f"A feature of {self.length:,} numbers is no triangle of a {self.side} x {self.side} matrix.",
                f"Such a triangle has {vech_length(self.side):,}.",
            )
