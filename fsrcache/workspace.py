"""A workspace: the folder where one line of work keeps its extractor, its store and its runs."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments, call
from fsrcache.files import as_path, read_regular, write_whole
from fsrcache.records import Limit, check_fields, parse_json, shortened, value_from

_MOST_BYTES = 1 << 16  # of data.json, of extractor.json
_MOST_WEIGHTS = 1 << 32  # bytes of an extractor's file
_EXTRACTOR, _ONNX, _UNLABELLED = "extractor.json", "extractor.onnx", "unlabelled.json"
_NAME_DATA = Remedy("Name the data again: `{}`.", call("extract", data=Blank("PATH")))
_NAME_EXTRACTOR = Remedy("Name the extractor again: `{}`.", call("extract", extractor=Blank("FILE")))


@dataclass(frozen=True)
class Data:
    """The data of a workspace.

    Attributes
    ----------
    path
        A folder or file, absolute, or ``drawn`` or ``drawn:COUNT``.
    layout, votes
        As for ``fsrcache.faces.index.list_faces``.
    on_error
        ``fail`` or ``skip``, for pictures that cannot be used.
    limit
        Number of faces of a split at most, for a quick try; None for all of them.
    """

    path: str
    layout: str | None = None
    votes: Literal["majority", "argmax", "soft"] = "majority"
    on_error: Literal["fail", "skip"] = "fail"
    limit: Limit | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.path or "\0" in self.path:
            raise RequestError(f"Data.path is {shortened(self.path)}.", "It is a folder, a file, or drawn:COUNT.")

    @property
    def drawn(self) -> bool:
        """Whether these are the built-in faces."""
        return re.fullmatch(r"drawn(:.*)?", self.path) is not None

    @property
    def in_words(self) -> str:
        """The path, and what is chosen beside it."""
        layout = f", layout {self.layout}" if self.layout else ""
        votes = f", votes {self.votes}" if self.votes != "majority" else ""
        limit = f", at most {self.limit:,} faces a split" if self.limit else ""
        return f"{self.path}{layout}{votes}{limit}"


@dataclass(frozen=True)
class ExtractorSource:
    """The extractor of a workspace.

    Attributes
    ----------
    reference
        A file, absolute, or ``package.module:factory``, or the name of an installed extractor.
    options
        Options of an ONNX file, as JSON values: the fields of ``fsrcache.extractors.onnx_options.OnnxOptions``.
    """

    reference: str
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


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
        object.__setattr__(self, "folder", as_path(self.folder, name="workspace").absolute())

    @property
    def extractor(self) -> Path:
        """The extractor's weights."""
        return self.folder / "extractor.safetensors"

    @property
    def extractor_source(self) -> ExtractorSource:
        """The extractor that the workspace remembers, or else its own weights, whether they are there or not.

        Raises
        ------
        FsrcacheError
            If what it remembers cannot be read.
        """
        path = self.folder / _EXTRACTOR
        try:
            text = read_regular(path, most=_MOST_BYTES)
        except FileNotFoundError:
            return ExtractorSource(str(self.extractor))
        record = parse_json(text, where=path, remedy=_NAME_EXTRACTOR)
        source: Any = value_from(ExtractorSource, record, where=path, remedy=_NAME_EXTRACTOR)
        assert isinstance(source, ExtractorSource)
        if "/" not in source.reference and source.reference.endswith(".onnx"):  # its own copy
            return replace(source, reference=str(self.folder / source.reference))
        return source

    @property
    def has_extractor(self) -> bool:
        """Whether there is an extractor, readable or not."""
        return self.extractor.exists() or (self.folder / _EXTRACTOR).exists()

    def remember_extractor(self, source: ExtractorSource) -> None:
        """Keep which extractor the workspace has: a copy of a file, the name of anything else.

        Raises
        ------
        FsrcacheError
            If the file cannot be read, or its copy not be written.
        """
        path = Path(source.reference).expanduser()
        onnx = path.suffix.lower() == ".onnx"
        if not onnx and (path.is_absolute() or path.suffix.lower() == ".safetensors"):
            if not (path.exists() and self.extractor.exists() and path.samefile(self.extractor)):
                write_whole(self.extractor, _read_weights(path))
            (self.folder / _EXTRACTOR).unlink(missing_ok=True)
            return
        if onnx:
            write_whole(self.folder / _ONNX, _read_weights(path))
            source = replace(source, reference=_ONNX)
        write_whole(self.folder / _EXTRACTOR, (json.dumps(asdict(source), indent=2) + "\n").encode())

    @property
    def pretraining(self) -> Path:
        """The folder of the pre-training's checkpoint and history."""
        return self.folder / "pretraining"

    @property
    def store(self) -> Path:
        """The feature store."""
        return self.folder / "features.zarr"

    @property
    def predictions(self) -> Path:
        """The folder of the predictions that the table is made from."""
        return self.folder / "predictions"

    @property
    def table(self) -> Path:
        """The folder of the files of a table without a run."""
        return self.folder / "table"

    def row(self, name: str, seed: int) -> Path:
        """Return the folder of one training of a row of the table."""
        return self.folder / "rows" / name / f"seed-{seed}"

    def pictures(self, name: str) -> Path:
        """Return the folder of a row of pictures that another program enlarged."""
        return self.folder / "pictures" / name

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
        return _read_data(self.folder / "data.json")

    def remember(self, data: Data) -> None:
        """Keep which data the workspace is about."""
        write_whole(self.folder / "data.json", (json.dumps(asdict(data), indent=2) + "\n").encode())

    def unlabelled(self) -> Data | None:
        """Return the faces without labels that the workspace remembers, as :meth:`data`."""
        return _read_data(self.folder / _UNLABELLED)

    def remember_unlabelled(self, data: Data) -> None:
        """Keep which faces without labels the workspace's store has."""
        write_whole(self.folder / _UNLABELLED, (json.dumps(asdict(data), indent=2) + "\n").encode())


def _read_data(path: Path) -> Data | None:
    try:
        text = read_regular(path, most=_MOST_BYTES)
    except FileNotFoundError:
        return None
    data: Any = value_from(Data, parse_json(text, where=path, remedy=_NAME_DATA), where=path, remedy=_NAME_DATA)
    assert isinstance(data, Data)
    return data


def _read_weights(path: Path) -> bytes:
    try:
        return read_regular(path, most=_MOST_WEIGHTS)
    except FileNotFoundError:
        raise FsrcacheError(f"There is no extractor at {path}.", "Check the path.") from None


def open_workspace(workspace: Workspace | str | PathLike[str]) -> Workspace:
    """Return a workspace, or the one in a folder."""
    if isinstance(workspace, Workspace):
        return workspace
    return Workspace(workspace)  # type: ignore[arg-type]  # which makes a path of it, or names what is none


def existing_workspace(workspace: Workspace | str | PathLike[str]) -> Workspace:
    """Return a workspace whose folder is there.

    Raises
    ------
    RequestError
        If there is no such folder.
    """
    workspace = open_workspace(workspace)
    if not workspace.folder.is_dir():
        folder = str(workspace.folder)
        raise RequestError(
            f"There is no workspace at {folder}.",
            Remedy(
                "Name one that is there, `{}`, or make this one from your faces: `{}`, then `{}`.",
                arguments(workspace=Blank("DIR")),
                call("pretrain", workspace=folder, data=Blank("PATH")),
                call("extract", workspace=folder),
            ),
        )
    return workspace


def refuse_workspace(store: object, *, verb: str) -> None:
    """Raise if a workspace is named where a verb wants its store.

    Raises
    ------
    RequestError
        With the call of the verb that is about the workspace.
    """
    if isinstance(store, str | PathLike) and (workspace := Workspace(Path(store))).store.exists():
        folder = str(workspace.folder)
        raise RequestError(
            f"{folder} is a workspace, and no feature store.",
            Remedy("Name it as one: `{}`.", call(verb, workspace=folder)),
        )
