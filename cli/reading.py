"""Which faces a command works on, and reading them with their progress shown."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from fsrcache.faces.faces import Faces, usable_faces
from fsrcache.faces.index import list_faces, title_of
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.workspace import Data, Workspace

BUILT_IN = Data("drawn:4200")


def chosen_data(
    workspace: Workspace, path: str | None, *, layout: str | None, votes: str, on_error: str, console: Console
) -> Data:
    """Return the data asked for, else those that the workspace remembers, else the drawn faces, saying so."""
    if path is not None:
        drawn = path == "drawn" or path.startswith("drawn:")
        chosen = path if drawn else str(Path(path).absolute())
        return Data(chosen, layout, votes, on_error)  # type: ignore[arg-type]  # click.Choice has checked
    known = workspace.data()
    if known is None:
        known = BUILT_IN
        console.print(
            f"No --data, and {escape(str(workspace.folder))} remembers none: taking the built-in drawn faces.",
            highlight=False,
            soft_wrap=True,
        )
    return known


def read_faces(data: Data, *, on_progress: ProgressCallback, side: int | None = None) -> tuple[Faces, str]:
    """Return the usable faces at a side, and the data in one line, which says nothing of names that may change.

    What the reader should know of the data is told as notes: no split, what is left out, what is converted.
    """
    listing = list_faces(Path(data.path), layout=data.layout, votes=data.votes)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            on_progress(Progress("reading", done, len(listing.names), "pictures"))

    def tell(note: str) -> None:
        on_progress(Progress("reading", done, len(listing.names), "pictures", note=note))

    for note in listing.notes:
        tell(note)
    for reason, count in listing.left_out.items():
        tell(f"Left out: {count:,} ({reason}).")
    faces = usable_faces(listing, side=side, on_error=data.on_error, advance=advance)
    for what, count in faces.seen.conversions.items():
        tell(f"Converted: {count:,} ({what}).")
    return faces, title_of(listing.layout)
