"""``fsrcache info``: what a store holds, from its metadata alone."""

from typing import Any

import click

from fsrcache.cli.main import to_json
from fsrcache.cli.places import json_option, store_argument, workspace_option
from fsrcache.errors import FsrcacheError
from fsrcache.store.layout import documents, places
from fsrcache.store.objects import objects_at
from fsrcache.store.root import Root, read_root, storage_errors
from fsrcache.workspace import Workspace


@click.command
@store_argument
@workspace_option
@json_option
def info(store: str | None, workspace: Workspace, as_json: bool) -> None:
    """Print what a feature store holds: STORE is a folder or URL, by default the workspace's.

    Only the metadata are read; `fsrcache verify` reads everything.
    """
    objects = objects_at(store or workspace.store)
    root = read_root(objects)
    if root is None:
        raise FsrcacheError(f"There is no feature store at {objects.name}.", "Run `fsrcache extract` first.")
    record = _record(objects.name, root)
    if not root.complete:
        with storage_errors(f"The store {objects.name} cannot be listed", remedy="See that it can be read."):
            there = set(objects.keys())
        record["files_there"] = sum(key in there for place in places(root.spec) for key in place.keys)
    if as_json:
        click.echo(to_json(record))
    else:
        _show(record)


def _record(name: str, root: Root) -> dict[str, Any]:
    spec, found = root.spec, places(root.spec)
    return {
        "store": name,
        "complete": root.complete,
        **spec.to_dict(),
        "digest": spec.digest,
        "blocks": sum(map(spec.blocks, spec.splits)) * len(spec.scales),
        "files": sum(place.files for place in found),
        "objects": 1 + len(documents(spec)) + sum(place.files for place in found),
        "bytes": sum(place.nbytes for place in found),
        "arrays": {place.name: {"shape": list(place.shape), "dtype": place.dtype} for place in found},
    }


def _show(record: dict[str, Any]) -> None:
    state = "complete" if record["complete"] else f"incomplete: {record['files_there']:,} of {record['files']:,} files"
    widths = ", ".join(f"{name} {width:,}" for name, width in record["widths"].items())
    rows = ", ".join(f"{split} {count:,}" for split, count in record["rows"].items())
    lines = {
        "data": record["data"],
        "classes": ", ".join(record["classes"]),
        "rows": rows,
        "scales": ", ".join(map(str, record["scales"])),
        "widths": f"{widths}; {record['dtype']}, probabilities float32",
        "recipe": ", ".join(f"{name} {value}" for name, value in record["recipe"].items()),
        "chunk, block": f"{record['chunk']:,} rows, {record['block']:,} rows; {record['blocks']:,} blocks",
        "size": f"{record['bytes'] / 1e6:,.1f} MB in {record['objects']:,} objects",
        **{f"digest of {name}": value[:16] for name, value in record["digests"].items()},
    }
    click.echo(f"{record['store']}: {state}, format {record['version']}")
    for name, text in lines.items():
        click.echo(f"  {name:24}{text}")
