"""``import_tf``: CovPoolFER's published TensorFlow checkpoints as extractors."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from torch import nn

from fsrcache.errors import RequestError
from fsrcache.extractors.covpool import covpool_extractor, save_covpool
from fsrcache.extractors.covpool_checkpoint import checkpoint_covpool
from fsrcache.files import as_path


@dataclass(frozen=True)
class ImportResult:
    """What an import wrote.

    Attributes
    ----------
    extractor
        Path of the extractor's file.
    classes
        The K class names, in the order of its logits.
    layers, parameters
        Number of convolutions, maps and dense layers, and of the numbers in them and their norms.
    summary
        The extractor in words.
    """

    extractor: str
    classes: tuple[str, ...]
    layers: int
    parameters: int
    summary: str


def import_tf(checkpoint: str | PathLike[str], *, classes: Sequence[str], out: str | PathLike[str]) -> ImportResult:
    """Read a published TensorFlow 1 checkpoint of CovPoolFER, and write the extractor that it is.

    Parameters
    ----------
    checkpoint
        Path without ``.index`` and ``.data-00000-of-00001``.
    classes
        The K class names in the order of its logits, which a checkpoint does not hold.
    out
        The extractor's ``.safetensors`` file, which must not be there.

    Raises
    ------
    RequestError
        If there is a file at ``out`` already, or it ends in something else, or the classes are no different names.
    FsrcacheError
        If the checkpoint is missing or damaged, or no CovPoolFER's.
    """
    target = as_path(out, name="out")
    if target.suffix != ".safetensors" or target.exists():
        why = "is there already" if target.exists() else "does not end in .safetensors"
        raise RequestError(f"{target} {why}.", "Name another file.")
    model = checkpoint_covpool(checkpoint, classes=tuple(classes))
    save_covpool(target, model, training={"classes": list(classes)})
    weighted = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return ImportResult(
        extractor=str(target),
        classes=model.classes,
        layers=len(weighted) + 1,
        parameters=sum(weight.numel() for weight in model.state_dict().values() if weight.is_floating_point()),
        summary=covpool_extractor(target).summary,
    )
