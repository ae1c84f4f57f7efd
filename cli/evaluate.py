"""``fsrcache evaluate``: the table and the figure."""

from io import BytesIO
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from fsrcache.cli.help import Command
from fsrcache.cli.main import after_answer, matplotlib_import
from fsrcache.cli.main import to_json as document
from fsrcache.cli.options import device_option, seed_option, threads_option
from fsrcache.cli.paths import HomePath, json_option, store_option, workspace_option
from fsrcache.cli.printing import print_table
from fsrcache.cli.progress import shown
from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.formats import FURTHER_CSVS, confusion_csv, further_csvs, to_csv, to_json, to_markdown
from fsrcache.evaluation.layout import CALIBRATION, COST, DISTANCE, FIRST_LOOK, KNOWN, NATIVE_SIZE
from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.tables import HEADS, Table
from fsrcache.evaluation.terminal import terminal_table
from fsrcache.files import write_whole
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@workspace_option
@store_option
@click.option("--name", "names", multiple=True,
              help="Name of a training run. Repeatable.  [default: default, if it is trained]")  # fmt: skip
@click.option("--split", type=click.Choice(["val", "test"]), help="Split to report.  [default: test if any, else val]")
@click.option("--heads", type=click.Choice(list(HEADS)), multiple=True, help="Repeatable.  [default: all]")
@click.option("--measures", type=click.Choice(KNOWN), multiple=True, default=FIRST_LOOK, show_default=True,
              help="Measures in the tables; the CSV files and --json have the others too, but native_size, distance, "
              "calibration and cost only if asked for. per_class: recall, precision and F1 of every "
              "class with the frozen head. native_size: accuracy by the size of the pictures themselves, which "
              "are read again. distance: accuracy by the distance to the nearest trained face. calibration: "
              "expected calibration error of the frozen head before and after a temperature. cost: weights, "
              "multiplications, and time of training and a face. Repeatable.")  # fmt: skip
@click.option("--pictures", type=(str, HomePath(path_type=Path, file_okay=False)), multiple=True, metavar="NAME DIR",
              help="A row NAME of faces that another program super-resolved: DIR/x4/FACE.png for a face at scale 4, as "
              "fsrcache degrade names them. It stays in later tables until the folder WORKSPACE/pictures/NAME is "
              "deleted. Repeatable.")  # fmt: skip
@click.option("--against", default=BICUBIC, show_default=True, metavar="ROW",
              help="Row that McNemar's test compares with.")  # fmt: skip
@seed_option
@device_option
@threads_option
@json_option
def evaluate(
    workspace: Workspace,
    store: str | None,
    names: tuple[str, ...],
    split: str | None,
    heads: tuple[str, ...],
    measures: tuple[str, ...],
    pictures: tuple[tuple[str, Path], ...],
    against: str,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Print the table of all rows that are there, at every scale, each averaged over its seeds.

    Rows: majority and bicubic, what fsrcache baselines has trained, and FSR-FER, the runs that --name says. Runs whose
    settings differ in the seed alone are one row. A row of single networks with three seeds is also there as the mean
    of three, FSR-FER also as one of its networks. Heads: frozen is the extractor's own; refit-mlp re-trains its
    architecture, and refit-linear a linear classifier, on the row's own training features of all scales. The folder of
    the first run, or WORKSPACE/table without one, gets table.csv, table.md, confusion.csv, accuracy.png, accuracy.svg,
    a CSV of each of native_size, distance and cost that is asked for, and faces.png: a few faces at every scale, and
    what bicubic and FSR-FER say of them. Predictions are kept, and only new ones are computed.
    """
    from fsrcache.verbs.evaluate import evaluate as verb  # and torch, not for --help and completion
    from fsrcache.verbs.evaluate import runs_of_table

    if len(dict(pictures)) < len(pictures):
        raise click.UsageError("--pictures has a name twice; a row has one folder.")
    runs = runs_of_table(workspace, names or None)
    folder = workspace.run(runs[0]) if runs else workspace.table
    console = Console(stderr=True)
    with shown(console) as on_progress:
        table = verb(
            workspace, store=store, names=names or None, split=split, heads=heads or tuple(HEADS), against=against,
            native_sizes=NATIVE_SIZE in measures, distances=DISTANCE in measures,
            calibration=CALIBRATION in measures, cost=COST in measures, pictures=dict(pictures),
            seed=seed, device=device, on_progress=on_progress,
        )  # fmt: skip
    paper = table.context.data.startswith("RAF-DB")
    try:
        if as_json:
            click.echo(document(to_json(table)))
        else:
            screen = Console()
            print_table(terminal_table(table, width=screen.width, measures=measures, paper=paper), screen)
    finally:  # wherever the table went, a file may still hold it
        with after_answer():
            _write(folder, table, measures, paper=paper)
            with console.status("drawing faces.png"):  # for which a CSV of pixels is read again
                missing = _write_faces(folder, workspace, table, store)
    if not as_json:
        also = ", ".join(["confusion.csv", *further_csvs(table), "accuracy.svg"])
        lines = [
            f"With every definition in {folder}: table.md, table.csv; and {also}",
            f"Accuracy against the size of a face: {folder / 'accuracy.png'}",
            missing or f"Some faces, and what is said of them: {folder / 'faces.png'}",
        ]
        console.print(Text("\n".join(lines)), soft_wrap=True)


def _write_faces(folder: Path, workspace: Workspace, table: Table, store: str | None) -> str:
    """Write the picture of example faces; return why there is none where the pictures are not at hand."""
    from fsrcache.verbs.examples import draw_examples

    path, file = folder / "faces.png", BytesIO()
    try:
        draw_examples(workspace, table, store=store).save(file, "PNG")
    except FsrcacheError as error:
        path.unlink(missing_ok=True)  # one of another table
        return f"No faces.png: {error.what}"
    write_whole(path, file.getvalue())
    return ""


def _write(folder: Path, table: Table, measures: tuple[str, ...], *, paper: bool) -> None:
    """Write the tables, then the figures, for which matplotlib and its fonts must be in order."""
    markdown = to_markdown(table, measures=tuple(dict.fromkeys((*FIRST_LOOK, *measures))), paper=paper)
    texts = {"table.csv": to_csv(table), "table.md": markdown, "confusion.csv": confusion_csv(table)}
    further = further_csvs(table)
    for name in set(FURTHER_CSVS).difference(further):
        (folder / name).unlink(missing_ok=True)  # of another table
    texts |= further
    for name, text in texts.items():
        write_whole(folder / name, text.encode(errors="backslashreplace"))
    with matplotlib_import():
        from fsrcache.evaluation.plots import accuracy_figure
        from fsrcache.evaluation.style import write_figure
    figure = accuracy_figure(table, side=table.side, paper=paper)
    for suffix in ("png", "svg"):
        write_figure(figure, folder / f"accuracy.{suffix}")
