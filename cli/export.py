"""``fsrcache export``: a trained run as a folder that other programs run."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import threads_option
from fsrcache.cli.paths import HomePath, json_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@click.argument("folder", metavar="DIR", type=HomePath(path_type=Path, file_okay=False))
@workspace_option
@click.option("--name", default="default", show_default=True, help="Name of the training run.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", show_default=True,
              help="Precision of convolutions and linear layers in model.onnx; int8 reads training faces.")  # fmt: skip
@click.option("--web", is_flag=True, help="Write a web page too, which labels pictures in the browser.")
@click.option("--onnxruntime-web", type=HomePath(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder of the npm package onnxruntime-web, for --web.  "
              "[default: node_modules/onnxruntime-web]")  # fmt: skip
@threads_option
@json_option
def export(
    folder: Path,
    workspace: Workspace,
    name: str,
    precision: str,
    web: bool,
    onnxruntime_web: Path | None,
    as_json: bool,
) -> None:
    """Write a trained run as a folder: model.onnx, model.safetensors, and a model card, README.md.

    Do not use it to infer the emotions of people at work or in education. An expression is not an emotion, and no
    ground for a decision about a person.

    model.onnx is one graph from the pixels of cropped faces, of any size, to probabilities: input faces, uint8
    [N, 3, h, w] in RGB; output probabilities, float32 [N, K]. fsrcache.load reads the folder.
    """
    from fsrcache.verbs.export import export as verb  # and torch, not for --help and completion

    with shown(Console(stderr=True)) as on_progress:
        result = verb(
            folder, workspace, name=name, precision=precision,  # type: ignore[arg-type]  # click.Choice has checked
            web=web, onnxruntime_web=onnxruntime_web, on_progress=on_progress,
        )  # fmt: skip
    if as_json:
        click.echo(to_json(asdict(result)))
        return
    click.echo(
        f"{result.folder}: model.onnx {result.onnx_bytes / 1e6:.1f} MB ({result.precision}, opset {result.opset}), "
        f"model.safetensors {result.weights_bytes / 1e6:.1f} MB, README.md"
    )
    click.echo(
        f"ONNX Runtime against PyTorch, on drawn faces: probabilities within {result.difference:.1e}, "
        f"{100 * result.same_labels:.1f} % of the labels the same"
    )
    if result.web:
        click.echo(f"The page: python -m http.server --directory {result.folder}, then http://localhost:8000")
