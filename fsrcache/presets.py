"""The named settings: frozen records that check themselves when they are made, nothing computed, nothing read."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Protocol

from fsrcache.contradictions import refuse_contradictions
from fsrcache.errors import RequestError
from fsrcache.records import Between, FormsOf, check_fields, shortened

_Width = Annotated[int, Between(1, 2**16)]  # of layers, and batches
_Layers = Annotated[int, Between(0, 200)]
Side = Annotated[int, Between(1, 2048)]
_Times = Annotated[int, Between(1, 1000)]
_Steps = Annotated[int, Between(0, 10**8)]
_Share = Annotated[float, Between(0, 1)]
_Decay = Annotated[float, Between(0, 1, below=True)]
_Factor = Annotated[float, Between(0, 1e38)]  # what fp32 holds
_MOST_CONVOLUTIONS = 200
_Floor = Annotated[float, Between(1e-37, 1e38)]  # what has a logarithm
CACHES = ("auto", "device", "ram", "stream")  # locations of the features in a training
LOGS = ("tensorboard", "trackio", "wandb")  # trackers of a training


@dataclass(frozen=True, kw_only=True)
class ExtractorConfig:
    """The shape of a CovPoolFER extractor.

    Attributes
    ----------
    side
        Side of the square pictures, in pixels.
    stages
        Channels of the 3x3 convolutions, a tuple a stage; a 2x2 max pooling stands between stages. The last number is
        ``C``, the channels that are pooled into a covariance.
    stride
        Stride of the first convolution.
    spd_side
        ``D``, the side of the log-covariance; at most ``C``.
    hidden, embedding
        Widths of the head's two hidden layers.
    linear_embedding
        Whether the embedding has no ReLU, as in the published checkpoints; None where it has one.
    ridge
        Share of the covariance's trace that is added to its diagonal.
    floor
        Smallest eigenvalue of the covariance.
    """

    side: Side
    stages: tuple[tuple[_Width, ...], ...]
    stride: _Times = 1
    spd_side: Side
    hidden: _Width = 2000
    embedding: _Width = 128
    linear_embedding: Literal[True] | None = None
    ridge: _Factor = 1e-4
    floor: _Floor = 1e-4

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.stages or not all(self.stages):
            raise RequestError(f"ExtractorConfig.stages is {shortened(self.stages)}.", "Every stage has a convolution.")
        if (count := sum(map(len, self.stages))) > _MOST_CONVOLUTIONS:
            raise RequestError(
                f"ExtractorConfig.stages has {count:,} convolutions.", f"{_MOST_CONVOLUTIONS} are the most."
            )
        channels, poolings = self.stages[-1][-1], len(self.stages) - 1
        if self.spd_side > channels:
            raise RequestError(
                f"The log-covariance's side is {self.spd_side} and the convolutions end in {channels} channels.",
                "The side is at most the number of channels.",
            )
        if self.side < self.stride * 2 ** min(poolings, 16):
            raise RequestError(
                f"Pictures of side {self.side} have nothing left after {poolings} poolings.",
                "Use a preset with fewer stages, or larger pictures.",
            )


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The pre-training of an extractor: AdamW under one cycle of the learning rate, cross-entropy.

    Attributes
    ----------
    epochs, batch
        Passes over the pictures, and pictures a step.
    learning_rate
        Learning rate at the top of the cycle.
    weight_decay
        Decay of every weight but the orthonormal map, the norms and the biases.
    label_smoothing
        Share of the target that all classes have alike.
    flip, shift
        Whether half of the pictures are mirrored, and the largest shift of a picture in pixels, each way.
    rotation, zoom
        Largest turn in degrees, each way, and largest enlargement or reduction as a share, of every other picture.
    """

    epochs: Annotated[int, Between(1, 10**5)]
    batch: Annotated[int, Between(2, 2**16)] = 128
    learning_rate: _Factor = 2e-3
    weight_decay: _Factor = 5e-2
    label_smoothing: _Share = 0.1
    flip: bool = True
    shift: Annotated[int, Between(0, 2048)] = 4
    rotation: Annotated[float, Between(0, 180)] = 0.0
    zoom: _Decay = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


# paper: Model-2 of CovPoolFER. medium: 100x100 pictures on two CPU cores, as small: 48x48. tiny: a minute on them.
EXTRACTORS: Mapping[str, ExtractorConfig] = MappingProxyType(
    {
        "paper": ExtractorConfig(side=100, stages=((64,), (96,), (128, 128), (256, 256)), spd_side=128),
        "medium": ExtractorConfig(side=100, stages=((32,), (64,), (96, 96), (128, 128)), spd_side=64),
        "small": ExtractorConfig(side=48, stages=((64,), (96, 96), (128, 128)), spd_side=64),
        "tiny": ExtractorConfig(
            side=100, stages=((24,), (48, 48), (64, 64)), stride=2, spd_side=64, hidden=256, embedding=128
        ),
    }
)
PRETRAINING: Mapping[str, PretrainConfig] = MappingProxyType(
    {
        "paper": PretrainConfig(epochs=100, batch=128, rotation=10.0),
        "medium": PretrainConfig(epochs=40, batch=64, rotation=10.0, zoom=0.1),
        "small": PretrainConfig(epochs=16, rotation=10.0, zoom=0.1),
        "tiny": PretrainConfig(epochs=6, batch=64),
    }
)
FINE_TUNING = PretrainConfig(epochs=12, learning_rate=5e-4)


class GeneratorConfig(Protocol):
    """What the settings of all forms of generators have: they are frozen dataclasses that check themselves."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def form(self) -> str:
        """The form's name in records."""
        ...


@dataclass(frozen=True, kw_only=True)
class RRDBConfig:
    """A generator of residual-in-residual dense blocks on the ``1 x D x D`` picture of the feature.

    Attributes
    ----------
    form
        Its name in records.
    filters, growth, blocks
        Channels between blocks (nf), channels a dense layer adds (gc), and residual-in-residual blocks.
    unshuffle
        Factor by which the picture is folded into channels before the blocks and unfolded after them; 1 is not at all.
    global_skip
        Whether the result is added to the input, the last convolution starting at zero.
    tail_kernel
        Side of the last two convolutions.
    """

    form: Literal["rrdb"] = "rrdb"
    filters: _Width = 32
    growth: _Width = 16
    blocks: _Layers = 6
    unshuffle: _Times = 1
    global_skip: bool = False
    tail_kernel: _Times = 3

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MLPConfig:
    """A residual generator on the standardised vech: pre-norm blocks of two linear layers, a zero-initialised output.

    Attributes
    ----------
    form
        Its name in records.
    width, blocks
        Width of the hidden vector, and number of residual blocks.
    rank
        Rank R of the residual: ``U diag(a) U'`` for symmetric matrices, ``U`` [D, R] and ``a`` [R] linear in the hidden
        vector; ``V a`` for plain vectors, ``V`` [P, R] the same for all samples. 0 for a residual that is itself linear
        in the hidden vector.
    dropout, noise
        Share of the hidden values left out in training, and deviation of what is added to the standardised input.
    members
        How many such networks there are. In training each sees a share of the batch; the residual is their mean.
    early
        Whether it reads the early features beside the feature, where the store has them.
    """

    form: Literal["mlp"] = "mlp"
    width: _Width = 768
    blocks: _Layers = 2
    rank: Annotated[int, Between(0, 2048)] = 32
    dropout: _Decay = 0.1
    noise: _Factor = 0.0
    members: Annotated[int, Between(1, 100)] = 1
    early: bool = True

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """ESRGAN's VGG discriminator without batch norm, or the one of FSR.

    Attributes
    ----------
    filters, bias
        Channels of the first convolution, which later ones double up to eight times; and whether they have a bias.
    layers
        ``fsr`` for four convolutions and a linear layer (Tan et al., CVPR 2018); None for those of ESRGAN.
    """

    filters: _Width = 64
    bias: bool = True
    layers: Literal["fsr"] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a generator is trained (arXiv 2004.02234, section III).

    Attributes
    ----------
    generator, critic
        The networks; without a critic there are no adversarial term and no penalty.
    steps, batch
        Steps, and samples of every batch in them.
    critic_steps, generator_steps
        Updates of the critic in a step, and of the generator after them, each on a batch of its own, but for the
        generator's first, which is on the critic's last.
    full_resolution
        Share of the samples drawn at scale 1, which the generator is to leave as they are.
    mixing
        Share of the samples that are mixed with another of their batch: features, embeddings, probabilities and classes
        alike, on the straight line between the two, how far is uniform (Zhang et al., "mixup", ICLR 2018; between
        log-covariances the line is the log-Euclidean geodesic).
    optimiser
        ``adam``, or ``adamw`` with ``weight_decay``.
    learning_rate, schedule, milestones
        ``milestones`` halves the rate at these steps; ``one_cycle`` warms up and anneals over all steps.
    betas
        Betas of Adam.
    adversarial_weight, perceptual_weight, l2_weight, classification_weight, distillation_weight
        Weights of the generator's terms.
    reduction
        Whether perceptual and L2 terms are sums over a sample's elements, or means.
    label_smoothing
        Label smoothing of the classification term, the frozen head's cross-entropy.
    penalty_weight, penalty_power, penalty_norm
        k and p of WGAN-div; ``full`` is the norm of a sample's whole gradient, ``column`` the authors' over one axis.
    reweight, sigma, exponent
        Samples weigh ``(sigma - p) ** exponent`` by the probability p of their class: ``lr`` cached, of the feature at
        that scale; ``hr`` cached, at full resolution; ``sr`` of the generated feature; ``sr_grad`` the same with its
        gradient; ``none`` for weights of 1.
    reweight_critic
        Whether the critic's terms are weighted too.
    l2_steps
        First steps of L2 alone.
    averaging
        Decay of the exponential average of the generator's weights, which is then what is scored and kept; 0 for none.
    patience
        The training ends when the first 512 held-out faces were not scored better for so many scorings, and the best
        scored weights are kept; 0 for the last step's.
    precision
        In which products and convolutions are computed where the device does so in hardware, fp32 elsewhere: ``bf16``
        those of the generator and the frozen head, ``tf32`` (TensorFloat-32, on a GPU) all those of a step. Weights,
        losses and scoring are fp32.
    """

    generator: Annotated[GeneratorConfig, FormsOf("fsrcache.models.generators.forms")]
    critic: CriticConfig | None
    steps: Annotated[int, Between(1, 10**8)]
    batch: _Width = 32
    critic_steps: Annotated[int, Between(1, 1000)] = 1
    generator_steps: _Times = 1
    full_resolution: _Share = 0.0
    mixing: _Share = 0.0
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: _Factor = 2e-4
    schedule: Literal["milestones", "one_cycle"] = "milestones"
    milestones: tuple[_Steps, ...] = (20_000, 50_000, 100_000, 200_000)
    betas: tuple[_Decay, _Decay] = (0.0, 0.999)
    weight_decay: _Factor = 0.0
    adversarial_weight: _Factor = 1.0
    perceptual_weight: _Factor = 10.0
    l2_weight: _Factor = 0.01
    classification_weight: _Factor = 0.0
    distillation_weight: _Factor = 0.0
    reduction: Literal["sum", "mean"] = "sum"
    label_smoothing: _Share = 0.1
    penalty_weight: _Factor = 2.0
    penalty_power: Annotated[float, Between(1, 100)] = 6.0
    penalty_norm: Literal["full", "column"] = "full"
    reweight: Literal["lr", "hr", "sr", "sr_grad", "none"] = "lr"
    sigma: Annotated[float, Between(1, 1000)] = 1.5
    exponent: Annotated[float, Between(0, 100)] = 1.0
    reweight_critic: bool = False
    l2_steps: _Steps = 0
    averaging: _Decay = 0.0
    patience: _Steps = 0
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        check_fields(self)
        if any(later < earlier for earlier, later in pairwise(self.milestones)):
            raise RequestError(f"TrainConfig.milestones is {shortened(self.milestones)}.", "They ascend.")
        refuse_contradictions(self)


_BEST = TrainConfig(
    generator=MLPConfig(width=512, dropout=0.1, noise=0.2, members=3),
    critic=None,
    steps=24_000,
    batch=384,
    full_resolution=1 / 8,
    optimiser="adamw",
    learning_rate=5e-4,
    schedule="one_cycle",
    betas=(0.9, 0.999),
    weight_decay=1e-2,
    perceptual_weight=1.0,
    l2_weight=1.0,
    distillation_weight=1.0,
    reduction="mean",
    precision="bf16",
)
# paper: the text where it speaks. authors: their code, quirks included. best: what measures best. tiny: half a minute.
# tf32: PyTorch's default for convolutions; in fp32, at 60 TFLOP/s, no GPU takes 200,000 of the authors' steps an hour.
TRAINING: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "paper": TrainConfig(generator=RRDBConfig(), critic=CriticConfig(), steps=400_000, precision="tf32"),
        "authors": TrainConfig(
            generator=RRDBConfig(tail_kernel=8),
            critic=CriticConfig(filters=8, bias=False),
            steps=400_000,
            learning_rate=2e-5,
            reweight="sr_grad",
            exponent=2.0,
            reweight_critic=True,
            penalty_norm="column",
            l2_steps=40_000,
            precision="tf32",
        ),
        "best": _BEST,
        # on the drawn faces residuals of rank 32 took twice the time and won back no more
        "tiny": replace(
            _BEST,
            generator=MLPConfig(width=512, blocks=1, rank=0, dropout=0.2, noise=0.5, members=2),
            steps=2000,
            batch=320,
        ),
    }
)
