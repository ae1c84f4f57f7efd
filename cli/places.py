"""Which workspace, and which store: options that cost nothing to import."""

from pathlib import Path

import click

from fsrcache.workspace import Workspace

WORKSPACE = "FSRCACHE_WORKSPACE"


def _workspace(ctx: click.Context, param: click.Parameter, value: Path) -> Workspace:  # noqa: ARG001
    return Workspace(value)


workspace_option = click.option(
    "--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("fsr"), show_default="./fsr",
    envvar=WORKSPACE, callback=_workspace, metavar="DIR", help="Where everything is kept.",
)  # fmt: skip
store_option = click.option(
    "--store", metavar="PLACE", help="The feature store, a folder or a URL such as s3://bucket/features.zarr.  "
    "[default: the workspace's features.zarr]",
)  # fmt: skip
store_argument = click.argument("store", metavar="[STORE]", required=False)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
