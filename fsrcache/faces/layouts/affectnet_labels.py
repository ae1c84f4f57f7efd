"""The labels of AffectNet: the numbers of its authors, and the three that are no expression."""

from fsrcache.faces.expressions import CONTEMPT, plain

NUMBERS = dict(
    zip("01234567", ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", CONTEMPT), strict=True)
)
UNDERSTOOD = ", ".join(f"{number} {name}" for number, name in NUMBERS.items())
_NO_EXPRESSION = {"8": "none", "9": "uncertain", "10": "no face"}
_WORDS = {"none": "none", "uncertain": "uncertain", "noface": "no face", "nonface": "no face"}


def no_expression(label: str) -> str | None:
    """Return ``none``, ``uncertain`` or ``no face`` if a label means one of them, by number or word, else None."""
    return _NO_EXPRESSION.get(label) or _WORDS.get(plain(label))
