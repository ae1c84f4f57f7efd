"""The command of a study: it ends in the words and the exit code of an error of fsrcache, as fsrcache's own do."""

from typing import Any

import click

from fsrcache.cli.paths import WORKSPACE
from fsrcache.cli.remedies import remedy_of
from fsrcache.errors import FsrcacheError
from fsrcache.workspace import Workspace


class StudyCommand(click.Command):
    """A command that prints an ``FsrcacheError``'s sentence and remedy; calls in it are of its own ``--workspace``."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the study; exit with 1 where the work fails and with 2 where the request is wrong."""
        if folder := ctx.params.get("workspace"):
            ctx.meta[WORKSPACE] = Workspace(folder)
        try:
            return super().invoke(ctx)
        except FsrcacheError as error:
            click.echo("\n".join(filter(None, (f"Error: {error.what}", remedy_of(error)))), err=True)
            raise click.exceptions.Exit(error.exit_code) from error
