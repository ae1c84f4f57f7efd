"""``export``: a trained run as a folder that other programs run."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import fsrcache
from fsrcache.deployment.card import Card, model_card
from fsrcache.deployment.graph import Pipeline
from fsrcache.deployment.onnx_file import INPUT, OPSET, describe, import_exporter, onnx_model
from fsrcache.deployment.quantisation import calibration_batches, quantised
from fsrcache.deployment.web import PAGE_FILES, page_files, runtime_files
from fsrcache.deployment.weights import WEIGHTS, ExportedModel, is_exported, write_exported
from fsrcache.drawn.face import draw_face
from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments, call
from fsrcache.evaluation.tables import SHOWN_DIGITS
from fsrcache.extractors.covpool import CovPoolFER, trained_on
from fsrcache.extractors.onnx_graph import open_session
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.decode import Pictures
from fsrcache.faces.index import list_faces
from fsrcache.faces.walk import foreign
from fsrcache.files import PARTIAL, as_path, read_regular, write_whole
from fsrcache.kernels.log_eig_products import RIDGE
from fsrcache.model import Model, generator_in_words, load
from fsrcache.models.weights import file_digest
from fsrcache.prediction import framing, temperatures
from fsrcache.progress import Progress, ProgressCallback, no_progress, note
from fsrcache.records import check_value
from fsrcache.rows.generated import GENERATOR
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import UNLABELLED
from fsrcache.training.run.checkpoint import CHECKPOINT, run_record
from fsrcache.workspace import Workspace, existing_workspace

Precision = Literal["fp32", "fp16", "int8"]
_ONNX, _CARD, _TABLE = "model.onnx", "README.md", "table.md"
_OWN = frozenset({WEIGHTS, _ONNX, _CARD, temperatures.FILE, framing.FILE, *PAGE_FILES})
_FACES = 14  # drawn ones, two of each expression, on which PyTorch and ONNX Runtime are compared
_MOST_DIFFERENCE = 1e-3  # between probabilities in fp32
_MOST_BYTES = 1 << 20  # of a table
_STEPS = ("weights", "graph", "comparison", "model card")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes
    ----------
    folder
        The folder.
    precision, opset
        Precision of convolutions and linear layers in ``model.onnx``, and its ONNX opset.
    onnx_bytes, weights_bytes
        Sizes of ``model.onnx`` and ``model.safetensors``.
    difference, same_labels
        The largest difference of probabilities between ONNX Runtime and PyTorch, and the share of equal labels, on 14
        drawn faces of several sizes.
    web
        Whether the web page was written.
    """

    folder: str
    precision: Precision
    opset: int
    onnx_bytes: int
    weights_bytes: int
    difference: float
    same_labels: float
    web: bool


def export(
    folder: str | PathLike[str],
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    name: str = "default",
    precision: Precision = "fp32",
    web: bool = False,
    onnxruntime_web: str | PathLike[str] | None = None,
    on_progress: ProgressCallback = no_progress,
) -> ExportResult:
    """Write a trained run as a folder: ``model.onnx``, ``model.safetensors``, and a model card, ``README.md``.

    ``model.onnx`` is one graph from pixels to probabilities. Its input ``faces`` is uint8 ``[N, 3, h, w]`` in RGB, true
    pixels of N faces of one size, of grey ones too; its output ``probabilities`` is fp32 ``[N, K]``. ``fsrcache.load``
    reads the folder.

    Parameters
    ----------
    folder
        The folder: a new or empty one, or that of an exported model, which is replaced.
    workspace
        The workspace, or its folder.
    name
        Name of the training run.
    precision
        ``fp32``; ``fp16`` for convolutions, generator and head; ``int8`` for convolutions and linear layers, by ranges
        measured on training faces. Bicubic, covariance and logarithm stay exact.
    web
        Whether to write a web page that labels pictures in the browser: ``index.html``.
    onnxruntime_web
        Folder of the npm package ``onnxruntime-web``; None for ``node_modules/onnxruntime-web``.
    on_progress
        Called before every step.

    Raises
    ------
    RequestError
        If an argument is wrong, there is no such workspace or run, its extractor has no such graph, or a package is not
        installed.
    FsrcacheError
        If a file is damaged or cannot be written, or the graph computes something else than PyTorch.
    """
    check_value(Precision, precision, name="precision")
    target = as_path(folder, name="folder").absolute()
    _refuse_workspace(target)
    _refuse_others_files(target)
    import_exporter()
    if onnxruntime_web is not None and not web:
        raise RequestError("onnxruntime-web is for a web page.", Remedy("Ask for one: `{}`.", arguments(web=True)))
    runtime = runtime_files(onnxruntime_web) if web else None
    workspace = existing_workspace(workspace)
    model = load(workspace, name)
    _refuse_other_extractors(model)
    calibration = _calibration(workspace, model) if precision == "int8" else None
    exported = ExportedModel(model.extractor, model.generator, model.training, model.run)

    on_progress(_step("weights"))
    written = {WEIGHTS: _weights(exported)}
    digests = {WEIGHTS: sha256(written[WEIGHTS]).hexdigest(), "extractor": model.extractor.digest}

    on_progress(_step("graph"))
    graph = onnx_model(Pipeline(exported, half=precision == "fp16"))
    if calibration is not None:
        graph = quantised(graph, calibration)
    metadata = {
        "classes": model.classes,
        "side": model.extractor.side,
        "channels": model.extractor.channels,
        "colours": "RGB",
        "precision": precision,
        "digest": digests[WEIGHTS],
        "fsrcache": fsrcache.__version__,
    }
    describe(graph, metadata)

    on_progress(_step("comparison"))
    content = graph.SerializeToString(deterministic=True)
    difference, same = _comparison(content, model, where=target / _ONNX)
    if precision != "fp32" and not math.isfinite(difference):
        raise FsrcacheError(
            f"The graph in {precision} has probabilities that are no numbers.",
            Remedy("Export without it: `{}`.", arguments(precision="fp32")),
        )
    if precision == "fp32" and not difference <= _MOST_DIFFERENCE:
        raise FsrcacheError(
            f"The graph's probabilities differ from PyTorch's by up to {difference:.2g}.",
            "Nothing is wrong with the workspace: check the versions of torch, onnxscript and onnxruntime.",
        )
    written[_ONNX] = content
    digests[_ONNX] = sha256(content).hexdigest()

    on_progress(_step("model card"))
    card = Card(
        extractor=model.extractor.summary,
        generator=generator_in_words(model.training),
        data=FeatureStore(workspace.store).spec.data if workspace.store.exists() else "",
        extractor_known=_has_own_extractor(workspace),
        unlabelled=UNLABELLED in model.training.get("extra", {}),
        scales=model.scales,
        classes=model.classes,
        side=model.extractor.side,
        grey=model.channels == 1,
        precision=precision,
        difference=difference,
        same=same,
        table=_table(workspace.run(name), on_progress),
        digests=digests,
        version=fsrcache.__version__,
    )
    written |= {_CARD: model_card(card).encode(), **_measured(workspace, model, on_progress)}
    if runtime is not None:
        written |= page_files(model.classes, runtime)
    _replace_model(target, written)
    return ExportResult(
        folder=str(target), precision=precision, opset=OPSET, onnx_bytes=len(content),
        weights_bytes=len(written[WEIGHTS]), difference=difference, same_labels=same, web=web,
    )  # fmt: skip


def _step(name: str) -> Progress:
    return Progress(f"exporting the {name}", _STEPS.index(name), len(_STEPS), "steps")


def _refuse_workspace(folder: Path) -> None:
    if Workspace(folder).has_extractor or (folder / "runs").exists():
        raise RequestError(f"{folder} is a workspace.", "Name another folder, which the model gets for itself.")


def _refuse_others_files(folder: Path) -> None:
    others = folder.is_dir() and any(foreign(path.name) is None for path in folder.iterdir())  # hidden ones aside
    if others and not is_exported(folder / WEIGHTS):
        raise RequestError(
            f"{folder} holds other files, and no exported model.", "Name a new folder, which the model gets for itself."
        )


def _has_own_extractor(workspace: Workspace) -> bool:
    """Tell whether the extractor was pre-trained in the workspace, and so on the workspace's data."""
    run = run_record(workspace.pretraining / CHECKPOINT)
    data = trained_on(workspace.extractor)
    return run is not None and data is not None and data == run["settings"].get("data")


def _weights(model: ExportedModel) -> bytes:
    with TemporaryDirectory() as folder:
        write_exported(Path(folder) / WEIGHTS, model)
        return (Path(folder) / WEIGHTS).read_bytes()


def _measured(workspace: Workspace, model: Model, on_progress: ProgressCallback) -> dict[str, bytes]:
    """Return the files of what ``predict`` measures: temperatures of all scales, the framing if it is measured."""
    contents = {
        framing.FILE: framing.framing_to_carry(workspace),
        temperatures.FILE: temperatures.temperatures_to_carry(model, on_progress=on_progress),
    }
    return {name: content for name, content in contents.items() if content is not None}


def _replace_model(folder: Path, written: Mapping[str, bytes]) -> None:
    """Write the files of a model, all of which are ready, in place of those of an earlier one.

    Interrupted, it leaves too few files, and never those of two models.
    """
    for name in _OWN.difference([WEIGHTS]):
        (folder / name).unlink(missing_ok=True)
    for name in _OWN:
        for partial in folder.glob(f".{name}.*{PARTIAL}"):  # of an export that was killed
            partial.unlink(missing_ok=True)
    for name, content in written.items():
        write_whole(folder / name, content)


def _refuse_other_extractors(model: Model) -> None:
    """Refuse an extractor that has no graph here."""
    module = model.extractor.module
    if not isinstance(module, CovPoolFER):
        raise RequestError(
            f"The extractor of {model.workspace} is {model.extractor.name}; only CovPoolFER is exported.",
            Remedy(
                "Export that network by its own tools, or make a CovPoolFER: `{}`.",
                call("pretrain", data=Blank("PATH")),
            ),
        )
    if module.pool.ridge < RIDGE:
        raise RequestError(
            f"The extractor's ridge is {module.pool.ridge:g}.",
            Remedy(
                f"The logarithm has a graph from {RIDGE:g} on: `{{}}`.", call("pretrain", settings=[f"ridge={RIDGE:g}"])
            ),
        )


def _calibration(workspace: Workspace, model: Model) -> Iterator[Pictures]:
    """Return training faces for int8, from the workspace's data."""
    data = workspace.data()
    if data is None:
        raise RequestError(
            f"{workspace.folder} remembers no data, and int8 is calibrated on training faces.",
            Remedy(
                "Name them in an extraction, `{}`, or export as `{}`.",
                call("extract", data=Blank("PATH")),
                arguments(precision="fp16"),
            ),
        )
    listing = list_faces(Path(data.path), layout=data.layout, votes=data.votes)
    return calibration_batches(listing, side=model.extractor.side, scales=model.scales)


def _comparison(graph: bytes, model: Model, *, where: Path) -> tuple[float, float]:
    """Return the largest difference of probabilities from PyTorch's, and the share of equal labels, on drawn faces."""
    session, side = open_session(graph, where=where), model.extractor.side
    drawn = np.stack([draw_face(0, index) for index in range(_FACES)])
    theirs: list[NDArray[np.float32]] = []
    ours: list[NDArray[np.float32]] = []
    for scale in model.scales:
        small = max(2, -(-side // scale))
        faces = imresize_batch(drawn, size=(small, small))
        (answer,) = session.run(None, {INPUT: np.ascontiguousarray(faces.transpose(0, 3, 1, 2))})
        theirs.append(answer)
        ours.append(model(faces).probabilities)
    one, other = np.concatenate(theirs), np.concatenate(ours)
    return float(np.abs(one - other).max()), float((one.argmax(1) == other.argmax(1)).mean())


def _table(run: Path, on_progress: ProgressCallback) -> str:
    """Return the table that ``evaluate`` kept with a run; nothing, and a note, where it is of another generator."""
    try:
        table = read_regular(run / _TABLE, most=_MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    if file_digest(run / GENERATOR)[:SHOWN_DIGITS] in table:
        return table
    on_progress(note(f"{run / _TABLE} is of another generator: the model card has no table until evaluate writes one."))
    return ""
