"""``fsrcache import-tf``: a published TensorFlow checkpoint of CovPoolFER as an extractor."""

from dataclasses import asdict
from pathlib import Path

import click

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.paths import HomePath, json_option


def _classes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:  # noqa: ARG001  # click's
    return tuple(name.strip() for name in value.split(","))


@click.command("import-tf", cls=Command)
@click.argument("checkpoint", type=HomePath(path_type=Path, dir_okay=False), metavar="PREFIX")
@click.option("--classes", required=True, metavar="A,B,...", callback=_classes,
              help="Names of the classes in the order of its logits, which no checkpoint tells; that of RAF-DB's "
              "folders 1 to 7 stands in the example.")  # fmt: skip
@click.option("--out", required=True, type=HomePath(path_type=Path, dir_okay=False), metavar="FILE",
              help="The extractor, a .safetensors file.")  # fmt: skip
@json_option
def import_tf(checkpoint: Path, classes: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Read CovPoolFER's published TensorFlow 1 checkpoint, and write the extractor that it is.

    PREFIX.index and PREFIX.data-00000-of-00001 are read without TensorFlow, layer by layer, every shape compared.
    Nothing in them is run. Weights trained on a research data set stay bound by its terms.
    """
    from fsrcache.verbs.import_tf import import_tf as work  # and torch, not for --help and completion

    result = work(checkpoint, classes=classes, out=out)
    if as_json:
        click.echo(to_json(asdict(result)))
        return
    click.echo(f"{result.extractor}: {result.layers} layers, {result.parameters:,} numbers, {result.summary}")
    click.echo(f"classes: {', '.join(result.classes)}")
