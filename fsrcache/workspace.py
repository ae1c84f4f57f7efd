"""A workspace: the folder where one line of work keeps its extractor, its store and its runs."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fsrcache.errors import RequestError
from fsrcache.files import read_regular, write_whole
from fsrcache.records import check_fields, parse_json, shortened, value_from

_MOST_BYTES = 1 << 16  # of data.json
_REMEDY = "Name the data again: fsrcache extract --data PATH, or pretrain."


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
    votes: Literal["majority", "argmax", "soft"] = "majority"
    on_error: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.path or "\0" in self.path:
            raise RequestError(f"Data.path is {shortened(self.path)}.", "It is a folder, a file, or drawn:COUNT.")

    @property
    def drawn(self) -> bool:
        """Whether these are the built-in faces."""
        return re.fullmatch(r"drawn(:.*)?", self.path) is not None


@dataclass(frozen=True)
class Workspace:
    """The names inside a workspace's folder; the folder is made when something is first kept in it.

    Attributes
    ----------
    folder
        Absolute, and so the same wherever the process goes; ``~`` is the home folder.
    """

    folder: Path

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "folder", Path(self.folder).expanduser().absolute())
        except (TypeError, RuntimeError) as error:  # no path, or a user without a home
            raise RequestError(f"{shortened(self.folder)} is no workspace: {error}.", "Name a folder.") from None

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

    @property
    def has_data(self) -> bool:
        """Whether data are remembered, readable or not."""
        return (self.folder / "data.json").exists()

    def data(self) -> Data | None:
        """Return the data that the workspace remembers.

        Raises
        ------
        FsrcacheError
            If what it remembers cannot be read.
        """
        path = self.folder / "data.json"
        try:
            text = read_regular(path, most=_MOST_BYTES)
        except FileNotFoundError:
            return None
        data: Any = value_from(Data, parse_json(text, where=path, remedy=_REMEDY), where=path, remedy=_REMEDY)
        assert isinstance(data, Data)
        return data

    def remember(self, data: Data) -> None:
        """Keep which data the workspace is about."""
        write_whole(self.folder / "data.json", (json.dumps(asdict(data), indent=2) + "\n").encode())
