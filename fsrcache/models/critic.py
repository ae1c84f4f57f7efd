"""The critics, on features as ``1 x D x D`` pictures: ESRGAN's VGG discriminator without batch norm, and FSR's.

Sources: Wang et al., "ESRGAN", ECCV Workshops 2018; arXiv 2004.02234, section III; Tan et al., CVPR 2018. Without batch
norm, since the gradient penalty is about one sample at a time.
"""

from torch import nn

from fsrcache.errors import Remedy, RequestError, arguments
from fsrcache.presets import CriticConfig

_SLOPE = 0.2  # of the leaky ReLU
_SMALLEST = 8  # pixels a stage still halves


def make_critic(config: CriticConfig, side: int | None) -> nn.Sequential:
    """Return the critic of some settings for matrices of a side; the errors are those of ``VGGCritic``."""
    return FSRCritic(config, side) if config.layers == "fsr" else VGGCritic(config, side)


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
        side = _side_of_pictures(side)
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


class FSRCritic(nn.Sequential):
    """Three halving convolutions, a further one and a linear layer: fp32 [B, 1, D, D] -> fp32 [B].

    Parameters
    ----------
    config
        Width of the convolutions; 8 is the published one.
    side
        D; None, for plain vectors, is refused.

    Raises
    ------
    RequestError
        If the features are plain vectors.
    """

    def __init__(self, config: CriticConfig, side: int | None) -> None:
        side = _side_of_pictures(side)
        layers: list[nn.Module] = []
        incoming = 1
        for number, (kernel, stride) in enumerate(((5, 2), (5, 2), (3, 2), (3, 1))):
            channels = config.filters << number
            convolution = nn.Conv2d(incoming, channels, kernel, stride, padding=kernel // 2, bias=config.bias)
            layers += [convolution, nn.LeakyReLU(_SLOPE)]
            incoming, side = channels, -(-side // stride)
        super().__init__(*layers, nn.Flatten(), nn.Linear(incoming * side * side, 1), nn.Flatten(0))


def _side_of_pictures(side: int | None) -> int:
    if side is None:
        raise RequestError(
            "The critic judges symmetric matrices as pictures, and these features are plain vectors.",
            "Use an MLP without a critic: preset best.",
        )
    return side
