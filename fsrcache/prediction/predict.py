"""From pictures to answers: faces of several pictures make one batch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fsrcache.evaluation.calibration import with_temperature
from fsrcache.faces.boxes import Box
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.model import Model
from fsrcache.prediction.answers import Answer, FacePrediction, Failure, PicturePredictions
from fsrcache.prediction.frames import Frame
from fsrcache.prediction.temperatures import Temperature

# Of the pictures that wait for a batch, whichever comes first.
_FACES, _PICTURES, _PIXELS, _SECONDS = 64, 32, 1 << 25, 1.0

Face = tuple[Box, Pictures]  # where it lies, and its pixels, uint8 [h, w] or [h, w, 3]
Locate = Callable[[Frame], tuple[Sequence[Face], Sequence[str]]]  # with why boxes show none; may raise PictureError


class _Located(NamedTuple):
    """A picture with its faces, and why boxes show none."""

    frame: Frame
    faces: Sequence[Face]
    reasons: Sequence[str]


def predict_frames(
    model: Model,
    frames: Iterable[Frame | Failure],
    locate: Locate,
    *,
    temperature: Callable[[int], Temperature],
    threshold: float,
) -> Iterator[Answer]:
    """Yield an answer a picture, in order, and a failure a box that shows no face after its picture's answer.

    Memory does not grow with the number of pictures.

    Parameters
    ----------
    model
        The model.
    frames
        Pictures, and those that could not be read.
    locate
        Function that returns the faces of a picture, and a reason for each box that shows none.
    temperature
        Function that returns the temperature of a scale.
    threshold
        Confidence below which a face is unsure.
    """
    waiting: list[_Located | Failure] = []
    began = time.monotonic()
    for frame in frames:
        waiting.append(frame if isinstance(frame, Failure) else _located(frame, locate))
        if _enough(waiting) or time.monotonic() - began > _SECONDS:
            yield from _answers(model, waiting, temperature, threshold)
            waiting, began = [], time.monotonic()
    yield from _answers(model, waiting, temperature, threshold)


def _located(frame: Frame, locate: Locate) -> _Located | Failure:
    try:
        return _Located(frame, *locate(frame))
    except PictureError as error:
        return Failure(frame.path, str(error))


def _enough(waiting: Sequence[_Located | Failure]) -> bool:
    located = [one for one in waiting if isinstance(one, _Located)]
    faces, pixels = sum(len(one.faces) for one in located), sum(one.frame.pixels.size for one in located)
    return len(waiting) >= _PICTURES or faces >= _FACES or pixels >= _PIXELS


def _answers(
    model: Model, waiting: Sequence[_Located | Failure], temperature: Callable[[int], Temperature], threshold: float
) -> Iterator[Answer]:
    """Yield the answers of pictures whose faces make one batch."""
    faces = [face for one in waiting if isinstance(one, _Located) for face in one.faces]
    predictions = iter(_faces(model, faces, temperature, threshold))
    for one in waiting:
        if isinstance(one, Failure):
            yield one
        else:
            yield PicturePredictions(one.frame.path, tuple(next(predictions) for _ in one.faces), one.frame.pixels)
            yield from (Failure(one.frame.path, reason) for reason in one.reasons)


def _faces(
    model: Model, faces: Sequence[Face], temperature: Callable[[int], Temperature], threshold: float
) -> Iterator[FacePrediction]:
    answer = model([pixels for _, pixels in faces])
    temperatures = np.array([temperature(int(scale))["temperature"] for scale in answer.scales])
    confidences = with_temperature(answer.probabilities, temperatures).max(1, initial=0.0)
    for row, (box, pixels) in enumerate(faces):
        yield FacePrediction(
            box=box,
            size=max(pixels.shape[:2]),
            scale=int(answer.scales[row]),
            label=answer.labels[row],
            probabilities=dict(zip(answer.classes, answer.probabilities[row].tolist(), strict=True)),
            confidence=float(confidences[row]),
            unsure=bool(confidences[row] < threshold),
        )
