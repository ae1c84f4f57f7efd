"""The expressions of all faces in a folder, by the model that a workspace holds.

The pictures are cropped as the training's were, of any size and format that Pillow opens::

    python examples/predict_folder.py fsr faces
"""

import sys
from pathlib import Path

from PIL import Image

import fsrcache

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
AT_ONCE = 64  # pictures in memory


def main(workspace: str, folder: str) -> dict[str, str]:
    """Print path, label, probability and scale of every picture; return labels by path."""
    model = fsrcache.load(workspace)
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    labels = {}
    for start in range(0, len(paths), AT_ONCE):
        batch = paths[start : start + AT_ONCE]
        faces = []
        for path in batch:
            with Image.open(path) as picture:
                faces.append(picture.copy())  # which reads it
        predictions = model(faces)
        rows = zip(batch, predictions.labels, predictions.probabilities.max(1), predictions.scales, strict=True)
        for path, label, probability, scale in rows:
            print(f"{path}: {label} {probability:.2f} (x{scale})")
            labels[str(path)] = label
    return labels


if __name__ == "__main__":
    main(*sys.argv[1:3])
