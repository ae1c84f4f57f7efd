"""fsrcache: feature super-resolution for facial expression recognition, from cached features.

``pretrain``, ``extract``, ``train``, ``sweep``, ``runs``, ``baselines``, ``evaluate``, ``report``, ``predict``,
``export``, ``degrade``, ``info``, ``verify`` and ``doctor`` are the commands of the same names as functions; ``load``
opens what they made as one model.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "FeatureStore",
    "FeatureWriter",
    "Model",
    "StoreSpec",
    "Workspace",
    "__version__",
    "baselines",
    "degrade",
    "doctor",
    "evaluate",
    "export",
    "extract",
    "imresize",
    "info",
    "load",
    "open_extractor",
    "predict",
    "pretrain",
    "report",
    "runs",
    "sweep",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from fsrcache.extractors.opening import open_extractor as open_extractor
    from fsrcache.faces.bicubic import imresize as imresize
    from fsrcache.model import Model as Model
    from fsrcache.model import load as load
    from fsrcache.store.reader import FeatureStore as FeatureStore
    from fsrcache.store.spec import StoreSpec as StoreSpec
    from fsrcache.store.writer import FeatureWriter as FeatureWriter
    from fsrcache.verbs.baselines import baselines as baselines
    from fsrcache.verbs.degrade import degrade as degrade
    from fsrcache.verbs.doctor import doctor as doctor
    from fsrcache.verbs.evaluate import evaluate as evaluate
    from fsrcache.verbs.export import export as export
    from fsrcache.verbs.extract import extract as extract
    from fsrcache.verbs.info import info as info
    from fsrcache.verbs.predict import predict as predict
    from fsrcache.verbs.pretrain import pretrain as pretrain
    from fsrcache.verbs.report import report as report
    from fsrcache.verbs.runs import runs as runs
    from fsrcache.verbs.sweep import sweep as sweep
    from fsrcache.verbs.train import train as train
    from fsrcache.verbs.verify import verify as verify
    from fsrcache.workspace import Workspace as Workspace

_VERBS = (
    "baselines", "degrade", "doctor", "evaluate", "export", "extract", "info", "predict", "pretrain", "report", "runs",
    "sweep", "train", "verify",
)  # fmt: skip
_HOMES = {
    "FeatureStore": "fsrcache.store.reader",
    "FeatureWriter": "fsrcache.store.writer",
    "Model": "fsrcache.model",
    "StoreSpec": "fsrcache.store.spec",
    "Workspace": "fsrcache.workspace",
    "imresize": "fsrcache.faces.bicubic",
    "load": "fsrcache.model",
    "open_extractor": "fsrcache.extractors.opening",
    **{verb: f"fsrcache.verbs.{verb}" for verb in _VERBS},
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that ``import fsrcache`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fsrcache' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
