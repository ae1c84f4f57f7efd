"""What is said about a picture: its faces, or why it cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fsrcache.faces.boxes import Box
from fsrcache.faces.decode import Pictures


@dataclass(frozen=True, kw_only=True)
class FacePrediction:
    """What a model says about a face in a picture.

    Attributes
    ----------
    box
        Where it lies in the upright picture, in pixels.
    size
        Pixels of a side of the face as the picture has it, before it is enlarged.
    scale
        How many times coarser than the extractor's pictures it is, the nearest scale that the generator knows.
    label
        The most probable class.
    probabilities
        Probability of every class, as ``fsrcache.load`` gives it.
    confidence
        How often a face of this scale and probability is labelled rightly, from 0 to 1: the label's probability at the
        temperature of the scale.
    unsure
        Whether the confidence is below the threshold.
    """

    box: Box
    size: int
    scale: int
    label: str
    probabilities: Mapping[str, float]
    confidence: float
    unsure: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the face as JSON values."""
        box = [self.box.x, self.box.y, self.box.width, self.box.height]
        return {**vars(self), "box": box, "probabilities": dict(self.probabilities)}


@dataclass(frozen=True)
class PicturePredictions:
    """What a model says about the faces of a picture.

    Attributes
    ----------
    path
        The picture's path as it was named, ``-`` for standard input; of a video's frame ``clip.mp4#frame=12``.
    faces
        Its faces: those that were found, the largest first; those of known boxes in their order.
    pixels
        uint8 ``[H, W]`` or ``[H, W, 3]`` in RGB, upright.
    """

    path: str
    faces: tuple[FacePrediction, ...]
    pixels: Pictures = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return path and faces as JSON values."""
        return {"path": self.path, "faces": [face.to_dict() for face in self.faces]}


@dataclass(frozen=True)
class Failure:
    """A picture or video that cannot be used, and why."""

    path: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {"path": self.path, "reason": self.reason}


Answer = PicturePredictions | Failure
