"""The critic: ESRGAN's VGG discriminator without batch norm, on features as ``1 x D x D`` pictures.

Source: Wang et al., "ESRGAN", ECCV Workshops 2018; arXiv 2004.02234, section III. Without batch norm, since the
gradient penalty is about one sample at a time.
"""

from torch import nn

from fsrcache.errors import Remedy, RequestError, arguments
from fsrcache.presets import CriticConfig

_SLOPE = 0.2  # of the leaky ReLU
_SMALLEST = 8  # pixels a stage still halves


class VGGCritic(nn.Sequential):
    """Stages of a 3x3 convolution and a halving 4x4 one, then two linear layers: fp32 [B, 1, D, D] -> fp32 [B].

    A plain sequence of layers, so that its penalty has a closed form (``fsrcache.kernels.closed_form_penalty``).

    Parameters
    ----------
    config
        Width of the convolutions.
    side
        D; 128 has the published five stages, smaller sides have fewer. None, for plain vectors, is refused.

    Raises
    ------
    RequestError
        If the features are plain vectors, or the side is below 8.
    """

    def __init__(self, config: CriticConfig, side: int | None) -> None:
        if side is None:
            raise RequestError(
                "The critic judges symmetric matrices as pictures, and these features are plain vectors.",
                "Use an MLP without a critic: preset best.",
            )
        if side < _SMALLEST:
            raise RequestError(
                f"The critic judges matrices of side {_SMALLEST} at least, and these have side {side}.",
                Remedy(
                    "Train without it: `{}`, or `{}`.", arguments(settings=["critic=none"]), arguments(preset="best")
                ),
            )
        layers: list[nn.Module] = []
        incoming, channels = 1, config.filters
        while side >= _SMALLEST:
            layers += [
                nn.Conv2d(incoming, channels, 3, padding=1, bias=config.bias or not layers),
                nn.LeakyReLU(_SLOPE),
                nn.Conv2d(channels, channels, 4, stride=2, padding=1, bias=config.bias),
                nn.LeakyReLU(_SLOPE),
            ]
            incoming, channels, side = channels, min(2 * channels, 8 * config.filters), side // 2
        judge = [nn.Flatten(), nn.Linear(incoming * side * side, 100), nn.LeakyReLU(_SLOPE), nn.Linear(100, 1)]
        super().__init__(*layers, *judge, nn.Flatten(0))
