"""A workspace: the folder where one line of work keeps its extractor, its store and its runs."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from fsrcache.errors import FsrcacheError, RequestError


@dataclass(frozen=True)
class Data:
    """Which data a workspace is about.

    Attributes
    ----------
    path
        A folder or file, absolute, or ``drawn`` or ``drawn:COUNT``.
    layout, votes
        As for ``fsrcache.faces.index.list_faces``.
    on_error
        ``fail`` or ``skip``: what to do about pictures that cannot be used.
    """

    path: str
    layout: str | None = None
    votes: str = "majority"
    on_error: str = "fail"

    @property
    def drawn(self) -> bool:
        """Whether these are the built-in faces."""
        return re.fullmatch(r"drawn(:.*)?", self.path) is not None


@dataclass(frozen=True)
class Workspace:
    """The names inside a workspace's folder; the folder is made when something is first kept in it."""

    folder: Path

    @property
    def extractor(self) -> Path:
        """The extractor's weights."""
        return self.folder / "extractor.safetensors"

    @property
    def pretraining(self) -> Path:
        """The folder of the pre-training's checkpoint and history."""
        return self.folder / "pretraining"

    @property
    def store(self) -> Path:
        """The feature store."""
        return self.folder / "features.zarr"

    @property
    def fine_tuned(self) -> Path:
        """The folder of the fine-tuned baseline."""
        return self.folder / "baselines" / "fine-tuned"

    def run(self, name: str) -> Path:
        """Return the folder of a training run.

        Raises
        ------
        RequestError
            If the name is none for a folder.
        """
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
            raise RequestError(
                f"{name!r} is no name for a run.",
                "Use up to 64 letters, digits, '.', '_' and '-', no '.' or '-' first.",
            )
        return self.folder / "runs" / name

    def data(self) -> Data | None:
        """Return the data that the workspace remembers.

        Raises
        ------
        FsrcacheError
            If what it remembers cannot be read.
        """
        path = self.folder / "data.json"
        try:
            return Data(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, NotADirectoryError) as error:
            raise FsrcacheError(f"{path} cannot be read: {error}.", "Name the data again with --data.") from None

    def remember(self, data: Data) -> None:
        """Keep which data the workspace is about."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"data.json.{os.getpid()}.partial"
        partial.write_text(json.dumps(asdict(data), indent=2) + "\n")
        partial.replace(self.folder / "data.json")
