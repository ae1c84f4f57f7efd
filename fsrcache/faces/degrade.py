"""The low-resolution view: bicubic down by an integer factor and back to the same side."""

from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.decode import Pictures


def low_resolution_view(pictures: Pictures, scale: int) -> Pictures:
    """Return pictures as a camera ``scale`` times coarser saw them, at the size they had (arXiv 2004.02234, sec. III).

    Parameters
    ----------
    pictures
        uint8 ``[B, S, S, C]``.
    scale
        The factor, at least 1; the small picture has side ``ceil(S / scale)``, 1 leaves the pictures as they are.
    """
    if scale == 1:
        return pictures
    return imresize_batch(imresize_batch(pictures, scale=1 / scale), size=(pictures.shape[1], pictures.shape[2]))
