"""Writes imresize.npz: a drawn face and its resized forms, made by a version that matched every MATLAB pair."""

from pathlib import Path

import numpy as np

from fsrcache import imresize
from fsrcache.drawn.face import draw_face

FORMS = {
    **{
        f"scale 1/{s} {border}": {"scale": 1 / s, "border": border}
        for s in range(2, 9)
        for border in ("replicate", "mirror")
    },
    "scale 1.37 replicate": {"scale": 1.37, "border": "replicate"},
    "size 48x31 replicate": {"size": (48, 31), "border": "replicate"},
    "size 13x130 mirror": {"size": (13, 130), "border": "mirror"},
}

if __name__ == "__main__":
    face = draw_face(0, 3)
    forms = {name: imresize(face, **form) for name, form in FORMS.items()}
    np.savez_compressed(Path(__file__).with_name("imresize.npz"), face=face, **forms)
