"""Checks of the arrays and numbers that measures and heads compute from."""

from typing import Any

import numpy as np

from fsrcache.errors import RequestError
from fsrcache.records import check_value, shortened

_CLASSES = 4096  # more of them than any data set of expressions has; a confusion matrix of so many takes 128 MiB


def check_array(values: object, kinds: str, *dimensions: int | None, name: str, wanted: str) -> None:
    """Check the kind and the shape of an array.

    Parameters
    ----------
    values
        The argument.
    kinds
        NumPy's letters for the kinds of dtype that are right, such as ``iu``.
    dimensions
        The length of every axis, None for any.
    name, wanted
        The argument's name, and a description of what it should be, for the error.

    Raises
    ------
    RequestError
        With name, value and what is wanted.
    """
    shape = values.shape if isinstance(values, np.ndarray) and values.dtype.kind in kinds else ()
    if len(shape) != len(dimensions) or any(n not in (None, m) for n, m in zip(dimensions, shape, strict=True)):
        raise RequestError(f"{name} is {shown(values)}.", f"It should be {wanted}.")


def check_classes(**arrays: object) -> None:
    """Check arrays of class indices by name: whole numbers [n] from 0 to 4,095, as many in each, and at least one.

    Raises
    ------
    RequestError
        With name and value.
    """
    lengths = {}
    for name, values in arrays.items():
        check_array(values, "iu", None, name=name, wanted="a NumPy array [n] of whole numbers, the classes")
        array: np.ndarray[Any, Any] = values  # type: ignore[assignment]  # checked
        lengths[name] = len(array)
        if len(array) == 0:
            raise RequestError(f"{name} is empty.", "Give at least one picture.")
        for value in (array.min(), array.max()):
            if not 0 <= value < _CLASSES:
                raise RequestError(f"{name} has the class {value}.", f"Classes are from 0 to {_CLASSES - 1:,}.")
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {count:,}" for name, count in lengths.items())
        raise RequestError(f"The arrays differ in length: {counts}.", "Give one number a picture in each.")


def check_number(form: Any, value: object, *, name: str) -> None:
    """Check a number as ``fsrcache.records.check_value`` does, NumPy's own included."""
    check_value(form, value.item() if isinstance(value, np.generic) else value, name=name)


def shown(value: object) -> str:
    """Return a value for an error: an array or a tensor by its shape and dtype, whatever else as it is written."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return shortened(value)
    kind = "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
    return f"{kind} of shape {tuple(shape)} and dtype {dtype}"
