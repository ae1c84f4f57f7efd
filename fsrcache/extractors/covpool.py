"""CovPoolFER: a picture becomes the logarithm of a covariance of its feature maps, and that a classification.

    picture uint8 [B, 3, H, W] -> whitened -> convolutions [B, C, h, w] -> covariance, mapped and ridged [B, D, D]
    -> logarithm of its clipped eigenvalues [B, D, D] -> vech [B, P] -> head: embedding [B, E], logits [B, K]

The early features [B, Q] are the maps in front of the last stage of convolutions, averaged over 3 x 3 parts of the
picture.

The head sees vech, a linear layer on which is one on the symmetric matrix. Under ``torch.autocast`` only the
convolutions run in lower precision.

Source: Acharya et al., "Covariance Pooling for Facial Expression Recognition", CVPR Workshops 2018 (Model-2).
"""

import dataclasses
from collections.abc import Mapping
from os import PathLike
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from fsrcache.extractors.extractor import Extractor, Taps
from fsrcache.models.form import FeatureForm
from fsrcache.models.weights import file_digest, read_module, read_record, write_weights
from fsrcache.presets import EXTRACTORS, PRETRAINING, ExtractorConfig, PretrainConfig
from fsrcache.records import Seed, Threads, check_value, shortened
from fsrcache.settings import preset_in_words
from fsrcache.spd import vech, vech_length
from fsrcache.spd.layers import BiMap, CovariancePool, LogEig

COVPOOL = "extractor"  # the kind of its file
PREPROCESSING = "(picture - mean) / max(deviation, 1 / sqrt(values)), over every picture's values 0..255"
_NORM_EPSILON = 1e-3
_LAYERS = 3  # of a convolution of the last stage, with norm and ReLU
_PARTS = 3  # of the early features, along each side
_REMEDY = Remedy("It is damaged or of another version: make one, `{}`.", call("pretrain", data=Blank("PATH")))


class ExtractorTraining(TypedDict, total=False):
    """What a file says about how its extractor was trained; all of it may be missing."""

    extractor: ExtractorConfig
    fine_tuned_from: str
    degradation: Mapping[str, str | int | None]
    distillation: Mapping[str, float]
    precision: str
    threads: Threads
    earlier_threads: tuple[Threads, ...]
    schedule: PretrainConfig
    seed: Seed
    data: str
    classes: tuple[str, ...]
    scales: tuple[int, ...]
    epochs: int
    accuracy: Mapping[str, float]


class _Record(TypedDict):
    """What stands in a file beside the tensors."""

    classes: tuple[str, ...]
    config: ExtractorConfig
    preprocessing: str
    training: ExtractorTraining


class CovPoolFER(nn.Module):
    """The extractor and its head.

    Parameters
    ----------
    config
        Its shape.
    classes
        The K class names, in the order of the logits.
    generator
        Draws the initial weights.

    Raises
    ------
    RequestError
        If the classes are no tuple of different names.
    """

    def __init__(
        self, config: ExtractorConfig, classes: tuple[str, ...], *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        check_value(tuple[str, ...], classes, name="classes")
        if not classes or len(set(classes)) != len(classes):
            raise RequestError(f"The classes are {shortened(classes)}.", "There is one at least, and none twice.")
        channels = config.stages[-1][-1]
        generator = generator or torch.Generator().manual_seed(0)
        self.config = config
        self.classes = classes
        self.side, self.channels, self.spd_side = config.side, 3, config.spd_side
        self.trunk = _trunk(config)
        self.last_stage = len(self.trunk) - _LAYERS * len(config.stages[-1])  # its first layer
        self.pool = CovariancePool(config.ridge, BiMap(channels, config.spd_side, generator=generator))
        self.logarithm = LogEig(config.floor)
        self.head = Head(
            vech_length(config.spd_side), config.hidden, config.embedding, len(classes), linear=config.linear_embedding
        )
        _initialise(self, generator)

    def log_covariance(self, pictures: Tensor) -> Tensor:
        """Return the features as matrices.

        Parameters
        ----------
        pictures
            uint8 or floating point, 0..255, ``[B, 3, H, W]``, or ``[B, 1, H, W]`` for grey ones.

        Returns
        -------
        Tensor
            fp32 ``[B, D, D]``, symmetric; finite for a constant picture too. In evaluation mode on a CPU the logarithm
            is that of float64.

        Raises
        ------
        FsrcacheError
            If the pictures have another shape.
        """
        return self._log_covariance(self.trunk(whiten(pictures)))

    def _log_covariance(self, maps: Tensor) -> Tensor:
        covariance = self.pool(maps)
        if covariance.is_cpu and not self.training:
            covariance = covariance.double()  # fp32 decompositions cost up to 2e-4 of a probability
        log_covariance: Tensor = self.logarithm(covariance).float()
        return log_covariance

    def features(self, pictures: Tensor) -> Tensor:
        """Return the features as vectors: pictures as in ``log_covariance`` -> vech, fp32 ``[B, P]``."""
        return vech(self.log_covariance(pictures))

    @property
    def early(self) -> int:
        """Q, the number of values of the early features."""
        stages = ((3,), *self.config.stages)
        return stages[-2][-1] * _PARTS**2

    def embed(self, pictures: Tensor) -> Taps:
        """Return features, embedding, logits and early features of pictures as in ``log_covariance``."""
        taps: Taps = self(pictures)
        return taps

    def forward(self, pictures: Tensor) -> Taps:
        """Return features, embedding and logits of pictures as in ``log_covariance``; early features in evaluation."""
        earlier = maps = whiten(pictures)
        for number, layer in enumerate(self.trunk):
            earlier = maps if number == self.last_stage else earlier
            maps = layer(maps)
        features = vech(self._log_covariance(maps))
        with torch.autocast(features.device.type, enabled=False):
            embedding, logits = self.head(features)
            return Taps(features, embedding, logits, None if self.training else part_means(earlier))


class Head(nn.Module):
    """Two hidden layers and a linear classifier.

    Parameters
    ----------
    length, hidden, embedding, classes
        P, the widths of the hidden layers, and K.
    linear
        Whether the embedding has no ReLU.
    """

    def __init__(self, length: int, hidden: int, embedding: int, classes: int, *, linear: bool | None = None) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(length, hidden, bias=False), _norm(nn.BatchNorm1d(hidden, eps=_NORM_EPSILON)), nn.ReLU(),
            nn.Linear(hidden, embedding, bias=False), _norm(nn.BatchNorm1d(embedding, eps=_NORM_EPSILON)),
            nn.Identity() if linear else nn.ReLU(),
        )  # fmt: skip
        self.classify = nn.Linear(embedding, classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding [B, E] and the logits [B, K] of features [B, P], [B, D, D] or [B, 1, D, D]."""
        if features.ndim == 4:
            features = features.squeeze(1)
        embedding = self.embed(vech(features) if features.ndim == 3 else features)
        return embedding, self.classify(embedding)

    def logits_of(self, embedding: Tensor) -> Tensor:
        """Return the logits [B, K] of an embedding [B, E]: training has the cached one of every face."""
        logits: Tensor = self.classify(embedding)
        return logits


def part_means(maps: Tensor) -> Tensor:
    """Return the means of maps [B, C, h, w] over 3 x 3 parts, fp32 [B, 9 C]."""
    return nn.functional.adaptive_avg_pool2d(maps.float(), _PARTS).flatten(1)


def whiten(pictures: Tensor) -> Tensor:
    """Return pictures [B, 1 or 3, H, W] as fp32 [B, 3, H, W], each of mean 0 and deviation 1; a constant one is 0.

    Raises
    ------
    FsrcacheError
        If the pictures have another shape.
    """
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise FsrcacheError(
            f"The extractor got pictures of shape {list(pictures.shape)}.",
            "They are [B, 3, H, W], or [B, 1, H, W] for grey ones.",
        )
    pictures = pictures.float().contiguous(memory_format=torch.channels_last)
    every = (1, 2, 3)
    centred = pictures - pictures.mean(every, keepdim=True, dtype=torch.float64).float()  # a constant becomes 0
    # several times as fast as std_mean on a CPU
    deviation: Tensor = torch.linalg.vector_norm(centred, dim=every, keepdim=True) / pictures.shape[1:].numel() ** 0.5
    values = 3 * pictures.shape[2] * pictures.shape[3]
    return (centred / deviation.clamp(min=values**-0.5)).expand(-1, 3, -1, -1)


def save_covpool(path: str | PathLike[str], model: CovPoolFER, *, training: Mapping[str, Any]) -> None:
    """Write an extractor as a file whose bytes depend on it alone.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    model
        The extractor.
    training
        How it was trained, as JSON values: no times, no paths.
    """
    record = {
        "classes": model.classes,
        "config": dataclasses.asdict(model.config),
        "preprocessing": PREPROCESSING,
        "training": training,
    }
    write_weights(path, model.state_dict(), kind=COVPOOL, record=record)


def load_covpool(path: str | PathLike[str]) -> CovPoolFER:
    """Read a CovPoolFER in evaluation mode on the CPU.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or it is none of ours.
    """
    return _read(path)[0]


def trained_on(path: str | PathLike[str]) -> str | None:
    """Return the digest of the faces that an extractor was trained on; None where its file does not say.

    Raises
    ------
    FsrcacheError
        If the file cannot be read or is no extractor.
    """
    data = read_record(path, kind=COVPOOL)["training"].get("data")
    return data if isinstance(data, str) else None


def covpool_extractor(path: str | PathLike[str]) -> Extractor:
    """Return the extractor that a file of ours holds, on the CPU; the errors are those of ``load_covpool``."""
    model, training = _read(path)
    scales = training.get("scales")
    seen = "unknown scales" if scales is None else "full resolution alone" if scales == (1,) else _scales(scales)
    epochs, seed = training.get("epochs", "unknown"), training.get("seed", "unknown")
    settings = ""
    schedule = None if "fine_tuned_from" in training else training.get("schedule")
    if schedule is not None:
        shape, trained = preset_in_words(model.config, EXTRACTORS), preset_in_words(schedule, PRETRAINING)
        settings = f", {shape}" if shape == trained else f", layers of {shape}, trained as {trained}"
    extractor = extractor_of(
        model, digest=file_digest(path), training=f"pre-trained for {epochs} epochs at {seen}, seed {seed}{settings}"
    )
    return dataclasses.replace(extractor, schedule=schedule)


def extractor_of(model: CovPoolFER, *, digest: str = "", training: str = "untrained") -> Extractor:
    """Return a CovPoolFER as an extractor; its file's digest and what trained it are given."""
    config = model.config
    return Extractor(
        module=model,
        name="CovPoolFER",
        digest=digest,
        form=FeatureForm(vech_length(config.spd_side), config.spd_side, early=model.early),
        embedding=config.embedding,
        preprocessing=PREPROCESSING,
        summary=f"CovPoolFER, D {config.spd_side}, {config.side} x {config.side} pixels, {training}",
        any_pixels=True,
    )


def _scales(scales: tuple[int, ...]) -> str:
    return f"scales {', '.join(map(str, scales))}"


def _read(path: str | PathLike[str]) -> tuple[CovPoolFER, ExtractorTraining]:
    model, record, _ = read_module(
        path, _Record, lambda record: CovPoolFER(record["config"], record["classes"]),
        kind=COVPOOL, layers=lambda record: sum(map(len, record["config"].stages)), remedy=_REMEDY,
    )  # fmt: skip
    if record["preprocessing"] != PREPROCESSING:
        raise FsrcacheError(
            f"{path} was trained on pictures prepared as {shortened(record['preprocessing'])}.",
            _REMEDY,
        )
    return model, record["training"]


def _trunk(config: ExtractorConfig) -> nn.Sequential:
    """Return the convolutions; the pooling comes before the ReLU, which gives the same and costs less."""
    layers: list[nn.Module] = []
    incoming, stride = 3, config.stride
    for number, stage in enumerate(config.stages):
        for place, channels in enumerate(stage):
            layers += [
                nn.Conv2d(incoming, channels, 3, stride=stride, padding=1, bias=False),
                _norm(nn.BatchNorm2d(channels, eps=_NORM_EPSILON)),
            ]
            if place == len(stage) - 1 and number < len(config.stages) - 1:
                layers.append(nn.MaxPool2d(2))
            layers.append(nn.ReLU(inplace=True))
            incoming, stride = channels, 1
    trunk = nn.Sequential(*layers)
    return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # a stub's gap


def _norm(norm: nn.Module) -> nn.Module:
    """Fix a norm's factors at 1: the published one has shifts alone."""
    assert isinstance(norm.weight, nn.Parameter)
    norm.weight.requires_grad_(False)
    return norm


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the convolutions' and linear layers' weights as He et al. do for ReLU, biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.is_meta:  # whose values are read from a file
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
