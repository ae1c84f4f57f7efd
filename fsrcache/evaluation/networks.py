"""The networks that a face goes through, from its pixels to a row's answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.decode import Pictures


class Enlarger(NamedTuple):
    """What enlarges coarse faces in place of bicubic.

    Attributes
    ----------
    network
        The super-resolver.
    shape
        Shape (s, s, C) of a coarse face.
    enlarge
        Function of coarse faces uint8 ``[B, s, s, C]`` that has the network enlarge them.
    """

    network: nn.Module
    shape: tuple[int, ...]
    enlarge: Callable[[Pictures], Any]


class Networks(NamedTuple):
    """The networks of a row at one scale, on the device, in the order that a face goes through them.

    Attributes
    ----------
    super_resolver
        What enlarges coarse faces; None for bicubic.
    extractor
        The extractor with its head; None for a row that looks at no face.
    generator
        Module from features fp32 [B, P], and early ones [B, Q] if it reads them, to the features that the head gets;
        None where it gets the extractor's own.
    """

    super_resolver: Enlarger | None = None
    extractor: Extractor | None = None
    generator: nn.Module | None = None
