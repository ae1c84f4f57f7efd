"""The cost of a row of the table: weights, multiplications, time of training and time a face."""

from dataclasses import dataclass

TIMED_FACES = 64  # of a batch whose time is measured


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a row; None where it is unknown.

    Attributes
    ----------
    row, label, members
        As in ``Score``.
    parameters
        Number of weights of all networks that the row has for its coarse scales, the extractor and its head among them.
    gmac
        Billions of multiplications, each with an addition, for a face, mean over the row's coarse scales: convolutions,
        products of matrices, covariance pooling. Bicubic enlargement and eigen-decompositions are left out.
    training_seconds, training_cpu_seconds
        Duration and processor time of what the row trains beside the extractor, and in the row bicubic of the
        extractor; mean over the seeds, and for a mean of three the sum of its trainings.
    milliseconds
        Time of a face in batches of ``TIMED_FACES``, mean over the row's coarse scales; for a mean of three the sum of
        its networks. None unless it is measured.
    device, threads
        Device and number of threads of that measurement; empty and 0 without one.
    """

    row: str
    label: str
    members: int
    parameters: int | None
    gmac: float | None
    training_seconds: float | None
    training_cpu_seconds: float | None
    milliseconds: float | None = None
    device: str = ""
    threads: int = 0
