"""A network of your own around two ops: covariance pooling and the matrix logarithm tell textures apart.

Both classes have the same mean and the same variance in every pixel, so that an average pooling would see nothing::

    python examples/covariance_network.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fsrcache.kernels import covariance_pool, log_eig

CHANNELS, SIDE = 8, 16


class CovarianceNetwork(nn.Module):
    """A convolution, the covariance of its maps over the positions, the covariance's logarithm, a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, CHANNELS, 3, bias=False)
        self.classify = nn.Linear(CHANNELS * CHANNELS, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits [B, K] of pictures [B, 1, S, S]."""
        covariances = covariance_pool(self.maps(pictures), ridge=1e-3)  # [B, C, C]
        logits: Tensor = self.classify(log_eig(covariances, floor=1e-6).flatten(1))
        return logits


def textures(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return noise [n, 1, S, S], smoothed along the rows (class 0) or along the columns (class 1), and labels [n]."""
    labels = torch.arange(count) % 2
    noise = torch.randn(count, 1, SIDE, SIDE + 1, generator=random)
    along_rows = (noise[..., 1:] + noise[..., :-1]) / 2**0.5
    return torch.where(labels[:, None, None, None] == 0, along_rows, along_rows.mT), labels


def main() -> float:
    """Train for a second, print and return the share of new textures that are recognised."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    pictures, labels = textures(256, random)
    network = CovarianceNetwork(classes=2)
    adam = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        adam.zero_grad()
        functional.cross_entropy(network(pictures), labels).backward()
        adam.step()
    others, truth = textures(256, random)
    accuracy = (network(others).argmax(1) == truth).float().mean().item()
    print(f"accuracy on new textures: {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
