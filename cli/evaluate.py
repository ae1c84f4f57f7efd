"""``fsrcache evaluate``: the table and the figure."""

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from fsrcache.cli.main import after_answer, matplotlib_import
from fsrcache.cli.main import to_json as document
from fsrcache.cli.options import device_option, seed_option
from fsrcache.cli.places import json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.evaluate import evaluate as work
from fsrcache.evaluation.formats import to_csv, to_json, to_markdown
from fsrcache.evaluation.layout import FIRST_LOOK, MEASURES
from fsrcache.evaluation.tables import HEADS, Table
from fsrcache.evaluation.terminal import terminal_table
from fsrcache.files import write_whole
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
    with shown(console) as on_progress:
        table = work(
            features, workspace.extractor, generator=generator, fine_tuned=fine_tuned, split=split,
            heads=heads or tuple(HEADS), seed=seed, device=place, on_progress=on_progress,
        )  # fmt: skip
    paper = features.spec.data.startswith("RAF-DB")
    try:
        if as_json:
            click.echo(document(to_json(table)))
        else:
            screen = Console()
            screen.print(terminal_table(table, width=screen.width, measures=measures, paper=paper), crop=False)
    finally:  # wherever the table went, a file may still hold it
        with after_answer():
            _write(folder, table, measures, side=features.spec.recipe.get("side"), paper=paper)
    if not as_json:
        console.print(Text(f"Also in {folder}: table.csv, table.md, accuracy.png, accuracy.svg"), soft_wrap=True)


def _write(folder: Path, table: Table, measures: tuple[str, ...], *, side: int | None, paper: bool) -> None:
    """Write the tables, then the figures, for which matplotlib and its fonts must be in order."""
    texts = {"table.csv": to_csv(table), "table.md": to_markdown(table, measures=measures, paper=paper)}
    for name, text in texts.items():
        write_whole(folder / name, text.encode(errors="backslashreplace"))
    with matplotlib_import():
        from fsrcache.evaluation.plots import accuracy_figure
        from fsrcache.evaluation.style import write_figure
    figure = accuracy_figure(table, side=side, paper=paper)
    for suffix in ("png", "svg"):
        write_figure(figure, folder / f"accuracy.{suffix}")
