"""Work that is done again and again, on a GPU captured as one graph and replayed.

A replay launches everything at once, where a training of small networks waits mostly for launches. Captured work must
find all its inputs in tensors that keep their addresses, and must neither copy from the host nor wait for the device.
"""

from collections.abc import Callable
from typing import Protocol

import torch

Work = Callable[[], None]
_EAGER = 3  # runs before the capture: libraries choose their algorithms, optimisers make their state


class Capturer(Protocol):
    """Way to warm up and capture work."""

    def warm(self, work: Work) -> None:
        """Do the work once, as it will be captured."""

    def capture(self, work: Work) -> Work:
        """Return a function that does the work by a replay; the work itself is not done."""


class Repeated:
    """Does the same work in every call, exactly once: at first eagerly, then, with a capturer, from its capture.

    The work is an argument of every call, not an attribute: it refers to the owner of this object, and a reference back
    would be a cycle.
    """

    def __init__(self, capturer: Capturer | None) -> None:
        self.capturer = capturer
        self.runs = 0
        self.replay: Work | None = None

    def __call__(self, work: Work) -> None:
        """Do the work."""
        if self.capturer is None:
            work()
            return
        if self.runs < _EAGER:
            self.runs += 1
            self.capturer.warm(work)
            return
        if self.replay is None:
            self.replay = self.capturer.capture(work)
        self.replay()


class CudaGraphs:
    """Captures as CUDA graphs on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm(self, work: Work) -> None:
        """Do the work on a stream of its own, which captures ask for."""
        current = torch.cuda.current_stream(self.device)
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            work()
        current.wait_stream(self.side)

    def capture(self, work: Work) -> Work:
        """Return the replay of the work's graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.side, capture_error_mode="thread_local"):
            work()
        return graph.replay


def capturer(device: torch.device, *, plain: bool) -> Capturer | None:
    """Return the way to capture steps on a device; None where they are done eagerly."""
    return CudaGraphs(device) if device.type == "cuda" and not plain else None
