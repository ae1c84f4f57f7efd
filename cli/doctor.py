"""``fsrcache doctor``: print whether machine and workspace are in order, and what to do."""

from dataclasses import replace

import click

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.paths import json_option, workspace_option
from fsrcache.cli.remedies import for_shell
from fsrcache.verbs.doctor import doctor as verb
from fsrcache.verbs.findings import Diagnosis
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@workspace_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, workspace: Workspace, as_json: bool) -> None:
    """Examine this machine and a workspace: what is in order, what needs attention, and what to do about it.

    Versions, device, threads, whether the kernels compile and agree with their definitions, the disk's speed and room,
    and the workspace's data, extractor, store and runs. It changes nothing and takes seconds; the first time on a GPU
    up to a minute. Exits with 1 if anything needs attention.
    """
    findings = verb(workspace).findings
    diagnosis = Diagnosis(tuple(replace(finding, remedy=for_shell(finding.remedy)) for finding in findings))
    if as_json:
        click.echo(to_json(diagnosis.to_dict()))
    else:
        _print(diagnosis)
    if not diagnosis.ok:
        ctx.exit(1)


def _print(diagnosis: Diagnosis) -> None:
    for finding in diagnosis.findings:
        state = click.style("ok       ", fg="green") if finding.ok else click.style("attention", fg="red", bold=True)
        click.echo(f"{state}  {finding.subject:11}{finding.text}")
        if finding.remedy:
            click.echo(f"{'':22}{finding.remedy}")
    attention = sum(not finding.ok for finding in diagnosis.findings)
    total = len(diagnosis.findings)
    click.echo(f"Findings that need attention: {attention} of {total}." if attention else "All is well.")
