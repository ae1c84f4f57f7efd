"""A trained RCAN or Meta-SR on pictures with their small versions, such as Set5: PSNR and SSIM on Y beside bicubic's.

Run as ``python -m studies.super_resolution ROW FOLDER`` with the folder of a row's seed, ``fsr/rows/rcan/seed-0``, and
one with ``hr/NAME_x2.png`` and ``lr/NAME_x2.png``; it prints a Markdown table. A network for grey pictures gets Y.
"""

from pathlib import Path
from statistics import mean

import click
import numpy as np
from torch import nn

from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import Pictures, decode
from fsrcache.faces.degrade import SCALE_FORM
from fsrcache.models.super_resolution.forms import load_super_resolver
from fsrcache.rows.super_resolved import network_files
from fsrcache.training.super_resolution.enlarge import enlarge
from fsrcache.training.super_resolution.quality import Quality, luma_of, quality
from studies.command import StudyCommand


@click.command(cls=StudyCommand)
@click.argument("row", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(row: Path, folder: Path) -> None:
    """Score and print."""
    click.echo("| scale | pictures | PSNR, dB | bicubic | SSIM | bicubic |\n|---|---:|---:|---:|---:|---:|")
    for scale, path in network_files(row, range(2, 9)).items():
        network, _ = load_super_resolver(path)
        pairs = [(folder / "lr" / large.name, large) for large in sorted((folder / "hr").glob(f"*_x{scale}.png"))]
        if not pairs:
            continue
        ours, bicubic = zip(
            *(scored(network, decode(small), decode(large), scale) for small, large in pairs), strict=True
        )
        psnr, similarity = [
            [f"{mean(getattr(one, name) for one in of_row):.{digits}f}" for of_row in (ours, bicubic)]
            for name, digits in (("psnr", 2), ("ssim", 4))
        ]
        click.echo(f"| x{scale} | {len(pairs)} | {' | '.join([*psnr, *similarity])} |")


def scored(network: nn.Module, small: Pictures, large: Pictures, scale: int) -> tuple[Quality, Quality]:
    """Return how near a network and bicubic come to a picture [H, W] or [H, W, 3] from its small version."""
    if len(network.get_buffer("mean")) == 1:
        small, large = (luma_of(np.atleast_3d(one)[None])[0].astype(np.uint8) for one in (small, large))
    small, large = np.atleast_3d(small), np.atleast_3d(large)
    height, width = small.shape[:2]
    longer = max(height, width)
    square = np.pad(small, ((0, longer - height), (0, longer - width), (0, 0)), mode="edge")
    enlarged = enlarge(network, square[None], scale, scale * longer, SCALE_FORM)[:, : large.shape[0], : large.shape[1]]
    bicubic = np.atleast_3d(imresize(np.squeeze(small), size=(large.shape[0], large.shape[1])))
    return quality(enlarged, large[None], border=scale), quality(bicubic[None], large[None], border=scale)


if __name__ == "__main__":
    main()
