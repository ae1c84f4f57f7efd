"""The outputs of a frozen network of your own: cached once in a store, then read as a data set by a DataLoader.

The network sees every picture at full resolution and at a quarter of it; a linear layer is trained on both::

    python examples/own_network.py vectors.zarr
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from fsrcache import FeatureStore, FeatureWriter, StoreSpec

ROWS = {"train": 600, "test": 200}
SIDE, WIDTH = 32, 64


def pictures(split: str) -> tuple[Tensor, Tensor]:
    """Return yours: here noise [n, 3, S, S], brighter to the left (class 0) or to the right (class 1), and labels."""
    random = torch.Generator().manual_seed(len(split))
    labels = torch.arange(ROWS[split]) % 2
    slope = torch.linspace(-0.1, 0.1, SIDE) * (2 * labels[:, None, None, None] - 1)
    return torch.rand(ROWS[split], 3, SIDE, SIDE, generator=random) + slope, labels


def frozen_network() -> nn.Module:
    """Return yours: anything that gives a vector."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()).eval()


def view(batch: Tensor, scale: int) -> Tensor:
    """Return pictures as a camera of a lower resolution would show them, enlarged again."""
    return functional.interpolate(functional.avg_pool2d(batch, scale), size=(SIDE, SIDE), mode="bilinear")


@torch.inference_mode()
def write_store(location: Path) -> None:
    """Cache what the network says; interrupted, it goes on when it is run again."""
    network, data = frozen_network(), {split: pictures(split) for split in ROWS}
    weights = b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())
    spec = StoreSpec.for_vectors(
        WIDTH, rows=ROWS, classes=("left", "right"), scales=(1, 4), content={"weights": weights}
    )  # fmt: skip
    labels = {split: truth.numpy() for split, (_, truth) in data.items()}
    ids = {split: [f"{split}/{i}" for i in range(count)] for split, count in ROWS.items()}
    with FeatureWriter(location, spec, labels=labels, ids=ids) as writer:
        for split, scale, block in writer.missing():
            batch = data[split][0][writer.rows(split, block)]
            writer.write(split, scale, block=block, features=network(view(batch, scale)).numpy())
        writer.finish()


def main(location: Path) -> float:
    """Write the store, train on it, print and return the share of coarse test pictures that are recognised."""
    write_store(location)
    store = FeatureStore(location)
    probe = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 2))
    adam = torch.optim.Adam(probe.parameters(), 1e-2)
    loader = DataLoader(store.dataset("train", 4), batch_size=100, shuffle=True)
    for _ in range(10):
        for lr, hr, label in loader:  # fp32 [B, P], fp32 [B, P], int64 [B]
            adam.zero_grad()
            functional.cross_entropy(probe(torch.cat([lr, hr])), label.repeat(2)).backward()
            adam.step()
    lr, _, truth = store.dataset("test", 4)[:]
    accuracy = (probe.eval()(torch.from_numpy(lr)).argmax(1).numpy() == truth).mean().item()
    print(f"accuracy on coarse test pictures: {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "vectors.zarr"))
