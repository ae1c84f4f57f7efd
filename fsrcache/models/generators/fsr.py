"""Convolutions that halve the feature as a picture, and one linear layer back: the generator of FSR, without a skip.

Source: Tan et al., "Feature Super-Resolution: Make Machine See More Clearly", CVPR 2018. There a feature is 4,096
numbers as a 64 x 64 picture; here the picture is the symmetric matrix, whose triangle is generated.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor, nn

from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.form import GeneratorForm
from fsrcache.records import Between, check_fields
from fsrcache.spd import unvech

_SLOPE = 0.2  # of the leaky ReLU; the paper does not say
_CHANNELS = (8, 16, 32, 64, 128)  # after the first convolution's 4
_STRIDES = (2, 1, 2, 1, 2)


@dataclass(frozen=True, kw_only=True)
class FSRConfig:
    """The settings of an FSR generator.

    Attributes
    ----------
    form
        Its name in records.
    dropout
        Share of the convolutions' last values left out in training.
    """

    form: Literal["fsr"] = "fsr"
    dropout: Annotated[float, Between(0, 1, below=True)] = 0.7

    def __post_init__(self) -> None:
        check_fields(self)


class FSRGenerator(nn.Module):
    """Six convolutions, dropout and a linear layer on the ``1 x D x D`` picture.

    Parameters
    ----------
    config
        Share of dropout.
    form
        Length P and side D of the features.
    """

    def __init__(self, config: FSRConfig, form: FeatureForm) -> None:
        super().__init__()
        assert form.side is not None
        layers: list[nn.Module] = [nn.ZeroPad2d((3, 4, 3, 4)), nn.Conv2d(1, 4, 8), nn.LeakyReLU(_SLOPE)]
        side = form.side
        for (incoming, channels), stride in zip(pairwise((4, *_CHANNELS)), _STRIDES, strict=True):
            layers += [nn.Conv2d(incoming, channels, 5, stride, padding=2), nn.LeakyReLU(_SLOPE)]
            side = -(-side // stride)
        layers += [nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(_CHANNELS[-1] * side * side, form.length)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return fp32 [B, P] of vech fp32 [B, P]."""
        generated: Tensor = self.layers(unvech(features)[:, None])
        return generated


FORM = GeneratorForm(
    config=FSRConfig,
    make=lambda config, form, plain: FSRGenerator(config, form),  # noqa: ARG005  there is one way to compute it
    layers=lambda config: 2 + len(_CHANNELS),  # noqa: ARG005  whatever the settings
    vectors=False,
)
