"""The model card of an exported model: what it is, how well it works, whose it is and what it must not be used for."""

from dataclasses import dataclass

_TERMS = {  # of data, by the beginning of their title
    "drawn faces": "The faces are drawn by this program, nobody's, and free.",
    "FER2013": "FER2013 is for research, under its own terms.",
    "FERPlus": "FERPlus labels FER2013's pictures, which are for research, under their own terms.",
    "RAF-DB": "RAF-DB is for non-commercial research, under its own terms.",
    "AffectNet": "AffectNet is for non-commercial research, under its own terms.",
    "ExpW": "ExpW is for non-commercial research, under its own terms.",
}
_OTHERS = "The terms of {} are not known to this program: ask whoever published them."
_UNKNOWN = "Their terms are not known to this program: ask whoever published them."


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model card says of one model.

    Attributes
    ----------
    extractor, generator, data
        One line on each network, and the title of the generator's training data, empty where it is unknown.
    extractor_known
        Whether the extractor was trained on the same data; else its data are not known.
    unlabelled
        Whether the generator was trained on faces without labels too.
    scales
        Scales that the generator was trained at.
    classes, side
        Names of the classes, and pixels of the extractor's square pictures.
    grey
        Whether colours become luma first.
    precision, difference, same
        Precision of ``model.onnx``; the largest difference of its probabilities from PyTorch's, and the share of equal
        labels, on drawn faces.
    table
        The table of ``fsrcache evaluate`` as Markdown; empty where it was not printed.
    digests
        SHA-256 by name.
    version
        Version of fsrcache.
    """

    extractor: str
    generator: str
    data: str
    extractor_known: bool
    unlabelled: bool
    scales: tuple[int, ...]
    classes: tuple[str, ...]
    side: int
    grey: bool
    precision: str
    difference: float
    same: float
    table: str
    digests: dict[str, str]
    version: str


def model_card(card: Card) -> str:
    """Return a model card as Markdown."""
    terms = next((text for title, text in _TERMS.items() if card.data.startswith(title)), _UNKNOWN)
    data = (card.data or "unknown, as the workspace had no store") + ", and faces without labels" * card.unlabelled
    others = [] if card.extractor_known else ["the extractor's own training data"]
    others += ["the faces without labels"] * card.unlabelled
    digests = "\n".join(f"- {name}: `{digest}`" for name, digest in card.digests.items())
    return _CARD.format(
        extractor=card.extractor,
        generator=card.generator,
        data=data,
        extractor_data=card.data * card.extractor_known or "not known to this program",
        terms=" ".join([terms, *(_OTHERS.format(what) for what in others)]),
        scales=", ".join(map(str, card.scales)),
        classes=", ".join(card.classes),
        names=list(card.classes),
        side=card.side,
        colours="; they become grey first, as the training faces were" if card.grey else "",
        precision=card.precision,
        difference=f"{card.difference:.1e}",
        same=f"{100 * card.same:.1f}",
        table=card.table or "It was not evaluated before it was exported: `fsrcache evaluate`, then export again.\n",
        digests=digests,
        version=card.version,
    )


_CARD = """\
---
license: other
pipeline_tag: image-classification
tags: [facial-expression-recognition, low-resolution, onnx]
---

# Facial expressions on very small faces

## What it must not be used for

Faces are people. Do not use this to infer the emotions of people at work or in education: in the European Union that is
prohibited (Regulation 2024/1689, article 5(1)(f)), with narrow medical and safety exceptions.

An expression is not an emotion, and a recogniser of expressions is no lie detector, no measure of character and no
ground for a decision about a person. Nothing here identifies anyone, and it must not be extended to.

## What it is

- extractor: {extractor}
- generator: {generator}
- training data of the extractor: {extractor_data}
- training data of the generator: {data}
- scales: {scales} (1 is full resolution, {side} x {side} pixels)
- classes, in the order of the probabilities: {classes}

## How to use it

`model.onnx` ({precision}) takes `faces`, uint8 `[N, 3, h, w]`: N cropped faces of h x w pixels, RGB from 0 to 255, as
they are{colours}. Do not enlarge them: the graph does. It returns `probabilities`, float32 `[N, K]`.

```python
import numpy as np, onnxruntime
from PIL import Image

face = np.asarray(Image.open("face.png").convert("RGB")).transpose(2, 0, 1)[None]
probabilities = onnxruntime.InferenceSession("model.onnx").run(None, {{"faces": face}})[0][0]
print({names}[probabilities.argmax()], probabilities.max())
```

`fsrcache.load(".")` reads `model.safetensors`, the same networks for PyTorch. On drawn faces of several sizes the
probabilities of the two differ by {difference} at most, and {same} % of the labels are the same.

## How well it works

{table}
## Whose it is

- code: fsrcache, Apache-2.0
- data: {data}. {terms}
- weights: **bound by the terms of the data that they were trained on**, whatever the licence of the code

## Digests (SHA-256)

{digests}

Written by fsrcache {version}.
"""
