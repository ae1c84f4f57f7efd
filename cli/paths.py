"""Which workspace, which store, and paths with ``~``: options that cost nothing to import."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from fsrcache.workspace import Workspace

WORKSPACE = "FSRCACHE_WORKSPACE"


class HomePath(click.Path):
    """A path whose ``~`` is the home folder: a shell sees to that at the beginning of a word, and nowhere else."""

    def convert(
        self, value: str | PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # click's type
        """Return the path, checked as ``click.Path`` does it."""
        return super().convert(at_home(fspath(value), ctx, param), param, ctx)


def at_home(value: str, ctx: click.Context | None, param: click.Parameter | None) -> str:
    """Return a path or URL, or another text unchanged, with the home folder for ``~``."""
    if not value:
        raise click.BadParameter("it is empty; name a path.", ctx, param)
    if not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        raise click.BadParameter(f"there is no home folder for {value!r}.", ctx, param) from None


def complete_path(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Have the shell complete a path; URLs and other texts it leaves alone."""
    return [CompletionItem(incomplete, type="file")]


def _store(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else at_home(value, ctx, param)


def _workspace(ctx: click.Context, param: click.Parameter, value: Path) -> Workspace:  # noqa: ARG001
    workspace = ctx.meta[WORKSPACE] = Workspace(value)  # kept for the remedy of an error
    return workspace


workspace_option = click.option(
    "--workspace", type=HomePath(path_type=Path, file_okay=False), default=Path("fsr"), envvar=WORKSPACE,
    callback=_workspace, metavar="DIR",
    help=f"Folder of extractor, store and runs.  [default: {WORKSPACE}, or ./fsr]",
)  # fmt: skip
store_option = click.option(
    "--store", metavar="PATH", callback=_store, shell_complete=complete_path,
    help="The feature store, a folder or a URL such as s3://bucket/features.zarr.  [default: the workspace's "
    "features.zarr]",
)  # fmt: skip
store_argument = click.argument(
    "store", metavar="[STORE]", required=False, callback=_store, shell_complete=complete_path
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
