"""``evaluate``: the table of every row, head and scale."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.device import fp32_precision
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.heads import predict, refit_linear, refit_mlp
from fsrcache.evaluation.tables import HEADS, Context, Key, Table, score_table
from fsrcache.evaluation.twins import twins
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generator import load_generator
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Seed, check_value, shortened
from fsrcache.store.reader import FeatureStore

_GENERATED = 1024  # rows at a time


class _Row(NamedTuple):
    """One way to features: its name, the extractor whose head is the frozen one, and the features of a split."""

    name: str
    extractor: Extractor
    features: Callable[[str, int], NDArray[np.floating[Any]]]


@fp32_precision(tf32=False)
def evaluate(
    store: FeatureStore,
    extractor: Extractor | Path,
    *,
    generator: Path,
    device: torch.device,
    fine_tuned: tuple[FeatureStore, Path] | None = None,
    split: str | None = None,
    heads: Sequence[str] = tuple(HEADS),
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
) -> Table:
    """Score bicubic, the fine-tuned extractor where it is there, and FSR-FER, each at every scale with every head.

    Heads are re-fitted on the training split without its held-out tenth.

    Parameters
    ----------
    store, extractor
        The features and the weights' file that they were extracted with.
    generator
        The trained generator's file.
    device
        Where generator and heads run.
    fine_tuned
        The store and the weights of the extractor fine-tuned on mixed scales.
    split
        ``val`` or ``test``; test where None and there is one, else val.
    heads
        Of ``HEADS``.
    seed
        Of the re-fitted heads, from 0 to 2^63 - 1.
    on_progress
        Called after every row and head.

    Raises
    ------
    FsrcacheError
        If a file is missing, the extractor, the generator or a store belongs to others, or the split has no pictures.
    RequestError
        If there are no such heads, or no such seed.
    """
    check_value(Seed, seed, name="seed")
    if isinstance(heads, str) or not set(heads) <= set(HEADS):
        raise RequestError(f"The heads are {shortened(heads)}.", f"Choose a list from {', '.join(HEADS)}.")
    split = _split(store, split)
    model, trained = load_generator(generator)
    if trained["store"] != store.digest:
        raise FsrcacheError(
            f"{generator} was trained on another store than {store.name}.",
            "Train again under another --name, or evaluate in the workspace it belongs to.",
        )
    model = model.to(device)

    def generated(part: str, scale: int) -> NDArray[np.floating[Any]]:
        return _generate(model, store.features(part, scale)[:], device)

    frozen = _extractor(extractor, store).to(device)
    rows = [_Row("bicubic", frozen, _cached(store)), _Row("FSR-FER", frozen, generated)]
    if fine_tuned is not None:
        _refuse_other_faces(fine_tuned[0], store)
        tuned = _extractor(fine_tuned[1], fine_tuned[0]).to(device)
        rows.insert(1, _Row("fine-tuned", tuned, _cached(fine_tuned[0])))
    predictions: dict[Key, NDArray[np.integer[Any]]] = {}
    fitting = "train" in store.splits and any(head != "frozen" for head in heads)
    done, total = 0, len(rows) * len(heads)
    for row in rows:
        training = _training_features(store, row) if fitting else {}
        tested = {scale: row.features(split, scale) for scale in store.scales}
        for head in heads:
            on_progress(Progress("evaluating", done, total, "rows and heads"))
            classifier = _classifier(head, row, training, store, seed=seed, device=device)
            for scale in store.scales:
                predictions[row.name, head, scale] = predict(classifier, tested[scale])
            done += 1
    on_progress(Progress("evaluating", done, total, "rows and heads"))
    return score_table(
        predictions,
        store.labels(split).astype(np.int64),
        split=split,
        context=_context(store, frozen, trained, split, fine_tuned is not None),
        twins=twins(store.hashes(split), store.hashes("train")) if "train" in store.splits else None,
    )


def _cached(store: FeatureStore) -> Callable[[str, int], NDArray[np.floating[Any]]]:
    return lambda split, scale: store.features(split, scale)[:]


def _split(store: FeatureStore, split: str | None) -> str:
    if split is not None and split not in store.splits:
        raise FsrcacheError(
            f"The store {store.name} has no split {split!r}; it has {', '.join(store.splits)}.", "Name another --split."
        )
    reported = [name for name in ("test", "val") if name in store.splits]
    if split is None and not reported:
        raise FsrcacheError(f"The store {store.name} has neither test nor val to report.", "Extract data with a split.")
    return split or reported[0]


def _refuse_other_faces(other: FeatureStore, store: FeatureStore) -> None:
    names = ("pictures", "labels", "order")
    if any(other.spec.digests[name] != store.spec.digests[name] for name in names) or other.scales != store.scales:
        raise FsrcacheError(
            f"The fine-tuned extractor's store {other.name} is of other faces or scales than {store.name}.",
            "Run `fsrcache baselines` again.",
        )


def _extractor(source: Extractor | Path, store: FeatureStore) -> Extractor:
    model = open_extractor(source)
    width = model.form.length
    if (model.classes, width) != (tuple(store.classes), store.spec.widths["features"]):
        raise FsrcacheError(
            f"{model.name} makes {width:,} features and tells apart {', '.join(model.classes)}; {store.name} has "
            f"{store.spec.widths['features']:,} and {', '.join(store.classes)}.",
            "Name the store that was extracted with it.",
        )
    return model


def _training_features(store: FeatureStore, row: _Row) -> dict[int, NDArray[np.floating[Any]]]:
    kept = ~store.held_out()
    return {scale: row.features("train", scale)[kept] for scale in store.scales}


def _classifier(
    head: str,
    row: _Row,
    training: Mapping[int, NDArray[np.floating[Any]]],
    store: FeatureStore,
    *,
    seed: int,
    device: torch.device,
) -> torch.nn.Module:
    """Return features [b, P] -> logits [b, K]."""
    if head == "frozen":
        return _Logits(row.extractor.head).eval()
    labels = store.labels("train")[~store.held_out()]
    classes = len(store.classes)
    if head == "refit-linear":
        return refit_linear(training, labels, classes=classes, seed=seed, device=device)

    def fresh() -> torch.nn.Module:
        return _Logits(row.extractor.fresh_head())

    return refit_mlp(training, labels, head=fresh, seed=seed, device=device)


class _Logits(torch.nn.Module):
    """A head without its embedding."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits [b, K]."""
        logits: torch.Tensor = self.head(features)[1]
        return logits


@torch.inference_mode()
def _generate(model: torch.nn.Module, features: NDArray[np.float16], device: torch.device) -> NDArray[np.float16]:
    """Return the generated features [n, P], in half precision like the cached ones."""
    out = np.empty_like(features)
    for start in range(0, len(features), _GENERATED):
        part = torch.from_numpy(features[start : start + _GENERATED]).to(device)
        out[start : start + _GENERATED] = model(part.float()).half().cpu().numpy()
    return out


def _kept(config: Mapping[str, Any], step: int) -> str:
    """Return which of a training's weights are scored, and what chose them."""
    averaged = f"; weights averaged with the decay {config['averaging']:g}" if config["averaging"] else ""
    if config["patience"]:
        return f"step {step:,}, the best on held-out pictures of the training split{averaged}"
    return f"the last step; no picture chose it{averaged}"


def _network(config: Mapping[str, Any]) -> str:
    """Return the form of a generator, and of how many networks it is the mean."""
    form, members = config["form"].upper(), config.get("members", 1)
    return form if members == 1 else f"mean of {members} {form}s"


def _context(
    store: FeatureStore, extractor: Extractor, trained: Mapping[str, Any], split: str, has_fine_tuned: bool
) -> Context:
    """Return what a reviewer asks."""
    spec, config = store.spec, trained["config"]
    held_out = int(store.held_out().sum()) if "train" in store.splits else 0
    degradation = spec.recipe.get("degradation", {})
    jpeg = degradation.get("jpeg")
    return Context(
        data=f"{spec.data}; trained on {spec.rows.get('train', 0) - held_out:,} pictures of its training split "
        f"({held_out:,} held out), reported on {spec.rows[split]:,} of {split}",
        degradation=f"MATLAB bicubic down and up, {degradation.get('form')} form, border "
        f"{degradation.get('border')}, {'no JPEG' if jpeg is None else f'JPEG {jpeg}'} in between",
        extractor=extractor.summary,
        generator=f"{_network(config['generator'])}, {config['steps']:,} steps of {config['batch']}, "
        f"{'no critic' if config['critic'] is None else 'with a WGAN-div critic'}, re-weighted by {config['reweight']}",
        checkpoint=_kept(config, trained["steps"]),
        seeds=f"one training, seed {trained['seed']}",
        notes=("fine-tuned: the extractor trained further on mixed scales, with its own head as the frozen one",)
        if has_fine_tuned
        else (),
    )
