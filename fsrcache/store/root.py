"""The root of a store: whether there is one, what it says of itself, and errors as our own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsrcache.errors import FsrcacheError
from fsrcache.store.spec import StoreSpec

KEY = "fsrcache"


@contextmanager
def storage_errors(what: str, *, remedy: str) -> Iterator[None]:
    """Turn what the file system, zarr or damaged metadata raise into an FsrcacheError that begins with ``what``."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError) as error:
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise FsrcacheError(f"{what}: {said}.", remedy) from error


def read_root(path: Path) -> tuple[StoreSpec, bool] | None:
    """Return what the store at a path is about and whether it is complete; None where there is no Zarr group.

    Raises
    ------
    FsrcacheError
        If something else is there, it cannot be read, or it is of an unknown version.
    """
    with storage_errors(f"{path} cannot be read as a feature store", remedy="Name another path, or extract again."):
        try:
            root = json.loads((path / "zarr.json").read_bytes())
        except FileNotFoundError:
            return None
        record = root["attributes"].get(KEY) if root["node_type"] == "group" else None
    if not isinstance(record, dict) or not isinstance(complete := record.get("complete"), bool):
        raise FsrcacheError(
            f"{path} is a Zarr {root['node_type']} but not a feature store.",
            "Name another path, or extract into a folder of its own.",
        )
    return StoreSpec.from_dict({name: value for name, value in record.items() if name != "complete"}), complete


def root_attributes(spec: StoreSpec, *, complete: bool) -> dict[str, Any]:
    """Return the attributes of a store's root."""
    return {KEY: {**spec.to_dict(), "complete": complete}}
