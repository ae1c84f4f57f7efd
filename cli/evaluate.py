"""``fsrcache evaluate``: the table and the figure."""

from pathlib import Path

import click
from fsrcache.cli.main import to_json as document
from fsrcache.cli.options import device_option, seed_option
from fsrcache.cli.places import json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from rich.console import Console

from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError
from fsrcache.evaluate import evaluate as work
from fsrcache.evaluation.formats import to_csv, to_json, to_markdown
from fsrcache.evaluation.layout import FIRST_LOOK, MEASURES
from fsrcache.evaluation.plots import accuracy_figure, write_figure
from fsrcache.evaluation.tables import HEADS
from fsrcache.evaluation.terminal import terminal_table
from fsrcache.models.weights import write_whole
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace


@click.command
@workspace_option
@store_option
@click.option("--name", default="default", show_default=True, help="Of the run.")
@click.option("--split", type=click.Choice(["val", "test"]), help="What is reported.  [default: test if any, else val]")
@click.option("--heads", type=click.Choice(list(HEADS)), multiple=True, help="Repeatable.  [default: all]")
@click.option("--measures", type=click.Choice(list(MEASURES)), multiple=True, default=FIRST_LOOK, show_default=True,
              help="What the tables show; the CSV and --json have all. Repeatable.")  # fmt: skip
@seed_option
@device_option
@json_option
def evaluate(
    workspace: Workspace,
    store: str | None,
    name: str,
    split: str | None,
    heads: tuple[str, ...],
    measures: tuple[str, ...],
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Print the table: bicubic, the fine-tuned extractor if there is one, and FSR-FER, at every scale.

    Heads: frozen is the extractor's own; refit-mlp re-trains its architecture, and refit-linear a linear classifier, on
    the row's own training features of all scales. runs/NAME gets table.csv, table.md, accuracy.png and accuracy.svg.
    """
    place = pick_device(device)
    folder = workspace.run(name)
    features = FeatureStore(store or workspace.store)
    generator = folder / "generator.safetensors"
    if not generator.exists():
        known = sorted(path.parent.name for path in (workspace.folder / "runs").glob("*/generator.safetensors"))
        raise FsrcacheError(
            f"There is no trained generator {name!r} in {workspace.folder}; there is {', '.join(known) or 'none'}.",
            f"Run `fsrcache train{'' if name == 'default' else f' --name {name}'}` to its end first.",
        )
    tuned = workspace.fine_tuned
    has_tuned = (tuned / "extractor.safetensors").exists() and (tuned / "features.zarr" / "zarr.json").exists()
    fine_tuned = (FeatureStore(tuned / "features.zarr"), tuned / "extractor.safetensors") if has_tuned else None
    console = Console(stderr=True)
    with shown(console) as watch:
        table = work(
            features, workspace.extractor, generator=generator, fine_tuned=fine_tuned, split=split,
            heads=heads or tuple(HEADS), seed=seed, device=place, watch=watch,
        )  # fmt: skip
    paper = features.spec.data.startswith("RAF-DB")
    _write(folder / "table.csv", to_csv(table))
    _write(folder / "table.md", to_markdown(table, measures=measures, paper=paper))
    figure = accuracy_figure(table, side=features.spec.recipe["side"], paper=paper)
    for suffix in ("png", "svg"):
        write_figure(figure, folder / f"accuracy.{suffix}")
    if as_json:
        click.echo(document(to_json(table)))
        return
    Console().print(terminal_table(table, measures=measures, paper=paper))
    console.print(f"Also in {folder}: table.csv, table.md, accuracy.png, accuracy.svg", highlight=False, soft_wrap=True)


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode())
