"""What an ONNX classifier does not say of its pictures and classes: options, read from a small TOML file beside it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.files import as_path, read_regular
from fsrcache.presets import Side
from fsrcache.records import Between, check_fields, shortened, value_from

_MOST_BYTES = 1 << 20  # of a TOML file
_Mean = Annotated[float, Between(-1e30, 1e30)]
_Deviation = Annotated[float, Between(1e-30, 1e30)]


@dataclass(frozen=True, kw_only=True)
class OnnxOptions:
    """What an ONNX file does not say of its pictures and classes; nothing has a default.

    Attributes
    ----------
    classes
        Names, in the order of the logits.
    side
        Pixels of the square pictures.
    channel_order
        Order of the colours, or ``grey`` for one channel.
    mean, deviation
        Values that every channel is standardised by, in ``channel_order``.
    range
        Value of a white pixel before that: ``255`` for (pixel - mean) / deviation, ``1`` for
        (pixel / 255 - mean) / deviation.
    layout
        Axes of the network's input: ``nchw`` has channels before rows, ``nhwc`` after columns.
    """

    classes: tuple[str, ...]
    side: Side
    channel_order: Literal["rgb", "bgr", "grey"]
    mean: tuple[_Mean, ...]
    deviation: tuple[_Deviation, ...]
    range: Literal["255", "1"]
    layout: Literal["nchw", "nhwc"]

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.classes) < 2 or "" in self.classes or len(set(self.classes)) < len(self.classes):
            raise RequestError(
                f"OnnxOptions.classes is {shortened(self.classes)}.", "It should be two names or more, all different."
            )
        for name in ("mean", "deviation"):
            if (count := len(getattr(self, name))) != self.channels:
                raise RequestError(
                    f"OnnxOptions.{name} has {count} values, and {self.channel_order} has {self.channels} channels.",
                    "It should be one value a channel.",
                )

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""
        return 1 if self.channel_order == "grey" else 3


def describe(options: OnnxOptions) -> str:
    """Return the options in one line."""
    return f"{len(options.classes)} classes ({', '.join(options.classes)}); {preparation(options)}"


def read_options(path: str | PathLike[str], /, **overrides: Any) -> OnnxOptions:
    """Read options from a TOML file beside a model, such as ``model.toml`` beside ``model.onnx``.

    Parameters
    ----------
    path
        The TOML file, with the fields of ``OnnxOptions``; where there is none, the overrides are all of them.
    overrides
        Fields that replace the file's, as JSON values; None for no override.

    Raises
    ------
    RequestError
        If fields are unknown or missing, or are not what they should be together.
    FsrcacheError
        If the file cannot be read, or a field is of another type or out of its range.
    """
    path = as_path(path)
    document = _read_toml(path)
    overrides = {name: value for name, value in overrides.items() if value is not None}
    hints = get_type_hints(OnnxOptions, include_extras=True)
    for name in [*document, *overrides]:
        if name not in hints:
            near = get_close_matches(name, hints) or hints
            raise RequestError(
                f"{path}: {shortened(name)} is no option of an ONNX file.", f"The nearest: {', '.join(near)}."
            )
    if absent := [name for name in hints if name not in document and name not in overrides]:
        raise RequestError(
            f"{path}: {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.",
            "Write what is missing into that file, or name it as an option; nothing has a default.",
        )
    values = {}
    for name, hint in hints.items():
        where, value = ("The options", overrides[name]) if name in overrides else (path, document[name])
        if isinstance(value, tuple):
            value = list(value)  # as in a document
        if name == "range" and type(value) is int:
            value = str(value)
        values[name] = value_from(hint, value, where=where, name=name, remedy="Correct it.")
    return OnnxOptions(**values)


def preparation(options: OnnxOptions) -> str:
    """Return in words how pixels are prepared."""
    mean, deviation = (
        ", ".join(repr(float(value)).removesuffix(".0") for value in values)
        for values in (options.mean, options.deviation)
    )
    pixel = "pixel" if options.range == "255" else "pixel / 255"
    return (
        f"{options.side} x {options.side} {options.channel_order}, {options.layout}, "
        f"({pixel} - ({mean})) / ({deviation})"
    )


def _read_toml(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(read_regular(path, most=_MOST_BYTES).decode())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise FsrcacheError(f"{path} cannot be read: {error}.", "It should be TOML, as UTF-8.") from None
