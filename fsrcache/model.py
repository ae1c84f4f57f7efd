"""``fsrcache.load``: a workspace's extractor, generator and head as one object that classifies faces."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fsrcache.deployment.weights import WEIGHTS, read_exported
from fsrcache.device import fp32_precision, pick_device
from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from fsrcache.extraction.features import features_of_view, view_of
from fsrcache.extraction.inputs import face_list, face_pixels, longer_sides, luma
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.models.generators.form import super_resolve
from fsrcache.models.generators.forms import (
    KIND,
    GeneratorTraining,
    extra_in_words,
    load_generator,
    refuse_other_content,
    training_of,
)
from fsrcache.models.weights import read_record
from fsrcache.presets import TRAINING
from fsrcache.records import check_value, shortened
from fsrcache.settings import preset_in_words
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace, existing_workspace, open_workspace

_BATCH = 128  # faces, as in an extraction
_LISTED = 12  # classes in a repr, and faces of predictions


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """What a model says about n faces, in their order.

    Attributes
    ----------
    labels
        n class names, each the most probable.
    probabilities
        fp32 ``[n, K]``.
    scales
        int64 ``[n]``: how many times coarser than the extractor's pictures each face is, of the scales that the model
        knows. The accuracy to expect is the table's at that scale.
    features
        Super-resolved features, fp32 ``[n, P]``.
    classes
        The K class names in the order of the probabilities.
    """

    labels: list[str]
    probabilities: NDArray[np.float32]
    scales: NDArray[np.int64]
    features: NDArray[np.float32]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Return n."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Return label, probability and scale of the first faces."""
        best = self.probabilities.max(1, initial=0.0)
        faces = zip(self.labels[:_LISTED], best, self.scales, strict=False)
        shown = [f"{label} {probability:.2f} (x{scale})" for label, probability, scale in faces]
        shown += ["..."] * (len(self) > _LISTED)
        return f"Predictions({len(self):,} face{'s' * (len(self) != 1)}{': ' * bool(shown)}{', '.join(shown)})"


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """An extractor, a generator and the extractor's head; ``load`` opens one. Several threads may call it at a time.

    Attributes
    ----------
    extractor
        The frozen network, on the model's device.
    generator
        The network that super-resolves features: fp32 ``[B, P]`` -> ``[B, P]``; of early features ``[B, Q]`` too, as
        its second argument, where it reads them.
    workspace, run
        The folder, and the name of the training in it.
    training
        How the generator was trained.
    """

    extractor: Extractor
    generator: nn.Module
    workspace: Path
    run: str
    training: GeneratorTraining

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales that the generator was trained at, ascending; the store may have got more since."""
        return self.training["scales"]

    @property
    def degradation(self) -> Degradation:
        """How coarse faces were made for that; its border is that of the enlargement."""
        return self.training["degradation"] or SCALE_FORM

    @property
    def channels(self) -> int:
        """1 where the labelled faces were all grey, and colours become luma; else 3."""
        return self.training["channels"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names in the order of the probabilities."""
        return self.extractor.classes

    @property
    def device(self) -> torch.device:
        """The device on which it computes."""
        return self.extractor.device

    def __call__(self, faces: object, sizes: object = None, scale: int | None = None) -> Predictions:
        """Classify faces of any size.

        Colours are RGB, which nothing can check: OpenCV's BGR has to be turned around first, ``face[..., ::-1]``. Where
        the training faces were grey they become luma (Rec. 601, as Pillow's ``L``); where not, grey is repeated.

        A face is brought to the extractor's S x S pixels by MATLAB's bicubic, as the extraction does, and is made no
        coarser. Its features pass the generator whatever their scale, 1 included, as in the table of ``evaluate``.

        Parameters
        ----------
        faces
            Faces cropped as those of the training data, uint8 from 0 to 255:

            - a list of arrays ``[h, w]``, ``[h, w, 1]`` or ``[h, w, 3]`` of any sizes, of PIL pictures of any mode
              (transparency is laid over white, 16 bits become 8), of tensors ``[C, h, w]`` or ``[h, w]``, or of all;
            - an array ``[B, h, w]`` or ``[B, h, w, C]``, or a tensor ``[B, C, h, w]``;
            - a single face. An array of three axes is one if the last is 1 or 3 long, a tensor of three always.
        sizes
            The true sizes in pixels of faces that were enlarged before: a number or a pair of sides for each, or one
            number for all. It decides the scale alone.
        scale
            The scale of all faces, instead of that which their sizes tell: S / (pixels of the longer side), the nearest
            of the model's scales, and 1 where a face has S pixels or more.

        Returns
        -------
        Predictions
            Labels, probabilities, scales and features of n faces; none for an empty list.

        Raises
        ------
        RequestError
            If a face, a size or the scale is none of these; the message shows it and says what to do.
        """
        parts = list(self._predicted(faces, sizes, scale))
        width, count = self.extractor.form.length, len(self.classes)
        scales = np.array([one for part in parts for one in part[0]], np.int64)
        features = np.concatenate([np.zeros((0, width), np.float32), *(part[1] for part in parts)])
        probabilities = np.concatenate([np.zeros((0, count), np.float32), *(part[2] for part in parts)])
        labels = [self.classes[winner] for winner in probabilities.argmax(1)]
        return Predictions(labels, probabilities, scales, features, self.classes)

    def features(self, faces: object, sizes: object = None, scale: int | None = None) -> NDArray[np.float32]:
        """Return the super-resolved features of faces, fp32 ``[n, P]``; arguments and errors are those of a call."""
        return self(faces, sizes, scale).features

    def __repr__(self) -> str:
        """Return what it consists of, a part a line."""
        more = f" and {len(self.classes) - _LISTED} more" * (len(self.classes) > _LISTED)
        return "\n".join(
            (
                f"fsrcache model of {self.workspace}, run {self.run}",
                f"  extractor  {self.extractor.summary}",
                f"  generator  {generator_in_words(self.training)}",
                f"  scales     {', '.join(map(str, self.scales))}",
                f"  classes    {', '.join(self.classes[:_LISTED])}{more}",
                f"  device     {self.device}",
            )
        )

    def _predicted(
        self, faces: object, sizes: object, scale: object
    ) -> Iterator[tuple[list[int], NDArray[np.float32], NDArray[np.float32]]]:
        """Yield scales, features [B, P] and probabilities [B, K] of one batch after another."""
        listed = face_list(faces)
        whole = len(listed) == 1 and listed[0] is faces
        true_sizes = longer_sides(sizes, len(listed))
        chosen = None if scale is None else self._known(scale)
        for start in range(0, len(listed), _BATCH):
            rows = range(start, min(start + _BATCH, len(listed)))
            pictures = [face_pixels(listed[row], "The face" if whole else f"faces[{row}]") for row in rows]
            if self.channels == 1:
                pictures = [luma(picture) for picture in pictures]
            pairs = zip(pictures, rows, strict=True)
            scales = [chosen or self._scale(picture, true_sizes[row]) for picture, row in pairs]
            yield scales, *self._super_resolved([self._resized(picture) for picture in pictures])

    @torch.inference_mode()
    def _super_resolved(self, pictures: list[Pictures]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return features [B, P] and probabilities [B, K] of pictures [S, S, C]."""
        channels = max(picture.shape[2] for picture in pictures)
        side, count = self.extractor.side, len(pictures)
        batch = np.empty((count, side, side, channels), np.uint8)
        for row, picture in enumerate(pictures):
            batch[row] = picture  # grey is repeated among colours
        with _FP32, torch.autocast(self.device.type, enabled=False):
            coarse = features_of_view(self.extractor, view_of(batch))
            read = [torch.from_numpy(array).to(self.device) for array in (coarse.features, coarse.early)]
            features = super_resolve(self.generator, *read).float()
            probabilities = self.extractor.head(features)[1].float().softmax(1)
            return features.cpu().numpy(), probabilities.cpu().numpy()

    def _resized(self, picture: Pictures) -> Pictures:
        """Return a picture [h, w, C] as [S, S, C]; a coarse one as the extraction enlarges it."""
        side = self.extractor.side
        if picture.shape[:2] == (side, side):
            return picture
        border = self.degradation.border if max(picture.shape[:2]) < side else SCALE_FORM.border
        resized: Pictures = imresize_batch(picture[None], size=(side, side), border=border)[0]
        return resized

    def _scale(self, picture: Pictures, true_size: float) -> int:
        """Return the known scale that is nearest to that of a picture."""
        ratio = max(1.0, self.extractor.side / min(true_size, max(picture.shape[:2])))
        return min(self.scales, key=lambda known: abs(known - ratio))

    def _known(self, scale: object) -> int:
        """Return a scale that was asked for."""
        if isinstance(scale, bool) or not isinstance(scale, Integral) or int(scale) not in self.scales:
            raise RequestError(
                f"The scale is {shortened(scale)}.",
                f"This model knows {', '.join(map(str, self.scales))}; without scale= the sizes of the faces tell the "
                "nearest.",
            )
        return int(scale)


def load(
    folder: Workspace | str | PathLike[str] = "fsr", run: str = "default", device: torch.device | str = "cpu"
) -> Model:
    """Return the model of a workspace, or of a folder that ``fsrcache.export`` wrote.

    Parameters
    ----------
    folder
        The workspace, or the folder of an exported model. Where a workspace has no store (a copy without
        ``features.zarr`` is small), it cannot be checked that the generator was trained on this extractor's features.
    run
        The name of the training, as ``fsrcache.train`` knows it. An exported model has one, whose name need not be
        repeated.
    device
        ``cpu``, ``cuda``, ``cuda:1`` and so on, or ``auto``.

    Raises
    ------
    RequestError
        If there is no such folder, extractor, run or device.
    FsrcacheError
        If a file is damaged, or the generator was trained on other features than this extractor's.

    Examples
    --------
    >>> model = fsrcache.load("fsr")
    >>> predictions = model([face, smaller_face])
    >>> predictions.probabilities.shape  # a row a face, a column a class
    (2, 7)
    """
    check_value(str, run, name="run")
    location, workspace = pick_device(str(device)), open_workspace(folder)
    existing_workspace(workspace)
    if (workspace.folder / WEIGHTS).is_file():
        model = _exported_model(workspace.folder, run)
    else:
        model = _workspace_model(workspace, run)
    if location.type != "cpu":
        torch.linalg.eigh(torch.eye(2, device=location))  # torch loads its solver here, not in several threads at once
        model.extractor.to(location)
        model.generator.to(location)
    return model


def _exported_model(folder: Path, run: str) -> Model:
    """Return the model of a folder that ``fsrcache.export`` wrote, on the CPU."""
    model = read_exported(folder / WEIGHTS)
    if run not in ("default", model.run):
        raise RequestError(
            f"{folder} is the run {model.run!r}, exported, and has no run {run!r}.", "Leave out the name of the run."
        )
    return Model(model.extractor, model.generator, folder, model.run, model.training)


def _workspace_model(workspace: Workspace, run: str) -> Model:
    """Return the model of a workspace, on the CPU."""
    here = str(workspace.folder)
    if not workspace.has_extractor:
        raise RequestError(
            f"The workspace {workspace.folder} has no extractor.",
            Remedy(
                "Run `{}`, or `{}` for one of your own.",
                call("pretrain", workspace=here, data=Blank("PATH")),
                call("extract", workspace=here, extractor=Blank("FILE")),
            ),
        )
    path = workspace.run(run) / "generator.safetensors"
    if not path.is_file():
        names = sorted(one.parent.name for one in path.parents[1].glob("*/generator.safetensors"))
        raise RequestError(
            f"The workspace {workspace.folder} has no trained run {run!r}; it has {', '.join(names) or 'none'}.",
            "Name one of these runs." if names else Remedy("Train one first: `{}`.", call("train", workspace=here)),
        )
    generator, written = load_generator(path)
    training = training_of(written, path)
    extractor, record = open_extractor(workspace.extractor_source), read_record(path, kind=KIND)
    for name, what in (("length", "features"), ("early", "early features")):
        if record[name] not in (0, there := getattr(extractor.form, name)):
            raise FsrcacheError(
                f"{path} is for {what} of {record[name]:,} numbers; {extractor.name} has {there:,}.", _ELSEWHERE
            )
    if workspace.store.exists():
        store = FeatureStore(workspace.store)
        refuse_other_extractor(store, extractor)
        refuse_other_content(path, training, store.spec.content_digests, store=store.name, remedy=_ELSEWHERE)
    return Model(extractor, generator.eval(), workspace.folder, run, training)


_ELSEWHERE = "Train again under another name, or load the workspace that the run belongs to."


def generator_in_words(training: GeneratorTraining) -> str:
    """Return how a generator was trained, as the nearest preset and what differs from it."""
    config = training["config"]
    settings = preset_in_words(config, TRAINING) + extra_in_words(training)
    return f"{config.generator.form}, {settings}; {training['steps']:,} steps, seed {training['seed']}"


class _Fp32:
    """Keeps products in fp32 while any thread is inside: the setting is the whole process's, and is put back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._precision = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._precision.enter_context(fp32_precision(tf32=False))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._precision.close()


_FP32 = _Fp32()
