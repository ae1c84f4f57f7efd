"""One checked way from outside to a record: annotations say which types and ranges, an error names file and field.

Settings check themselves by ``check_fields`` when they are made. What a JSON file holds passes ``parse_json`` and then
``value_from``: fields of a dataclass or ``TypedDict``, each there and none beside them, tuples for lists. Before that
nothing is computed from it and nothing allocated.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from math import isinf
from numbers import Number
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints, is_typeddict

from fsrcache.errors import FsrcacheError, RequestError

_MOST_BYTES = 1 << 24  # of a document
_DEEPEST = 32  # containers in one another
_SHOWN = 60  # characters of a value
_REMEDY = "It is damaged or of another version: make it anew."
_WORDS: Mapping[Any, tuple[Any, str]] = {  # of a type's values
    bool: (bool, "true or false"),
    int: (int, "a whole number"),
    float: ((int, float), "a finite number"),
    str: (str, "text"),
    NoneType: (NoneType, "nothing"),
}


@dataclass(frozen=True)
class Between:
    """A range, for ``Annotated[int, Between(1, 9)]``; ``below`` leaves out its upper end."""

    low: float
    high: float
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Tell whether a number lies in it; NaN does not."""
        return self.low <= value < self.high if self.below else self.low <= value <= self.high

    def __str__(self) -> str:
        """Return it in words."""
        return f"from {self.low:,} to {'below ' if self.below else ''}{self.high:,}"


@dataclass(frozen=True)
class FormsOf:
    """Records told apart by their ``form``, for ``Annotated[Any, FormsOf(module)]``.

    A record that is made here is any dataclass with a ``form``; it has checked itself. The classes of all forms are
    what the module's ``configs()`` returns. It is imported when a record is read from a file or a setting from text.

    Attributes
    ----------
    module
        Name of the module.
    """

    module: str

    def classes(self) -> tuple[type[Any], ...]:
        """Return the class of every form."""
        classes: tuple[type[Any], ...] = import_module(self.module).configs()
        return classes


Seed = Annotated[int, Between(0, 2**63 - 1)]
Threads = Annotated[int, Between(0, 2**16)]  # of a training; 0 on a GPU
Limit = Annotated[int, Between(1, 10**8)]  # of the faces of a split


class _WrongError(Exception):
    """A value that is not what it should be: its name, what is wrong, and what it should be."""

    def __init__(self, name: str, what: str, wanted: str) -> None:
        super().__init__(name, what, wanted)
        self.name, self.what, self.wanted = name, what, wanted


def check_fields(record: object) -> None:
    """Check the fields of a dataclass that is being made, in its ``__post_init__``.

    Raises
    ------
    RequestError
        With the field, its value, and what it should be.
    """
    hints = get_type_hints(type(record), include_extras=True)
    for field in fields(record):  # type: ignore[arg-type]  # a dataclass
        check_value(hints[field.name], getattr(record, field.name), name=f"{type(record).__name__}.{field.name}")


def check_value(form: Any, value: object, *, name: str) -> None:
    """Check an argument against an annotation.

    Raises
    ------
    RequestError
        With its name, its value, and what it should be.
    """
    try:
        _checked(form, value, name, parsed=False)
    except _WrongError as wrong:
        raise RequestError(f"{wrong.name} {wrong.what}.", f"It should be {wrong.wanted}.") from None


def value_from(form: Any, value: object, *, where: str | Path, name: str = "", remedy: str = _REMEDY) -> Any:
    """Return a parsed JSON value as an annotation says.

    Parameters
    ----------
    form
        A type, a dataclass, a ``TypedDict``, or a tuple, mapping, ``Literal``, union or ``Annotated`` range of such.
    value
        What ``parse_json`` gave.
    where, name
        The file, and the value's name in it, for the error.
    remedy
        What to do about a wrong one.

    Raises
    ------
    FsrcacheError
        With file, field and value, if a field is missing, unknown, of another type or out of its range.
    """
    try:
        return _checked(form, value, name, parsed=True)
    except _WrongError as wrong:
        wanted = f"; it should be {wrong.wanted}" if wrong.wanted else ""
        raise FsrcacheError(f"{where}: {wrong.name or 'the record'} {wrong.what}{wanted}.", remedy) from None
    except FsrcacheError as error:  # of a dataclass that knows more than types
        raise FsrcacheError(f"{where}: {error.what}", remedy) from None


def parse_json(text: str | bytes, *, where: str | Path, remedy: str = _REMEDY, most: int = _MOST_BYTES) -> Any:
    """Return what a JSON document holds.

    Raises
    ------
    FsrcacheError
        If it is none, has more than ``most`` bytes (16 MiB) or is nested deeper than 32, has a name twice, or a number
        that is not finite.
    """
    try:
        if len(text) > most:
            raise ValueError(f"it has {len(text):,} bytes, and {most:,} are the most")
        value = json.loads(text, parse_constant=_not_finite, parse_float=_finite, object_pairs_hook=_unique)
        if _deep(value):
            raise RecursionError
    except RecursionError:
        raise FsrcacheError(f"{where} cannot be read: it is nested deeper than {_DEEPEST}.", remedy) from None
    except ValueError as error:
        raise FsrcacheError(f"{where} cannot be read: {error}.", remedy) from None
    return value


def shortened(value: object, *, most: int = _SHOWN) -> str:
    """Return a value in at most so many characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python does not write numbers of more than 4,300 digits
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _checked(form: Any, value: Any, name: str, *, parsed: bool) -> Any:
    """Return a value as an annotation says; where it was parsed, lists become tuples and objects dataclasses."""
    origin, parts = get_origin(form), get_args(form)
    if form is Any:
        return value
    if origin is Annotated and isinstance(parts[1], FormsOf):
        return _of_a_form(parts[1], value, name, parsed=parsed)
    if origin is Annotated:
        number = _checked(parts[0], value, name, parsed=parsed)
        if number not in parts[1]:
            raise _WrongError(name, f"is {shortened(value)}", f"{_WORDS[parts[0]][1]} {parts[1]}")
        return number
    if origin in (Union, UnionType):
        return _one_of(parts, value, name, parsed=parsed)
    if origin is Literal:
        if not any(type(value) is type(choice) and value == choice for choice in parts):
            raise _WrongError(name, f"is {shortened(value)}", " or ".join(map(repr, parts)))
        return value
    if origin is tuple:
        return _items(parts, value, name, parsed=parsed)
    if origin is not None:  # a mapping
        if not isinstance(value, Mapping):
            raise _WrongError(name, f"is {shortened(value)}", "an object of fields")
        return {
            _checked(parts[0], key, f"a name in {name}", parsed=parsed):
                _checked(parts[1], inner, _below(name, key), parsed=parsed) for key, inner in value.items()
        }  # fmt: skip
    if is_dataclass(form) or is_typeddict(form):
        return _record(form, value, name, parsed=parsed)
    kind, words = _WORDS[form]
    if not isinstance(value, kind) or (isinstance(value, bool) and form is not bool):
        pythons = f", Python's {form.__name__}" if isinstance(value, Number) and form in (int, float) else ""
        raise _WrongError(name, f"is {shortened(value)}", words + pythons)
    if form is float and not -1e308 <= value <= 1e308:
        raise _WrongError(name, f"is {shortened(value)}", words)
    if form is str and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _WrongError(name, f"is {shortened(value)}", "text of whole characters")
    return float(value) if form is float and parsed else value


def _one_of(options: tuple[Any, ...], value: Any, name: str, *, parsed: bool) -> Any:
    """Return a value as the first option that fits; a ``form`` that records are told apart by decides alone."""
    if isinstance(value, Mapping) and "form" in value:
        options = tuple(one for one in options if getattr(one, "form", None) == value["form"]) or options
    wrong: list[_WrongError] = []
    for option in options:
        try:
            return _checked(option, value, name, parsed=parsed)
        except _WrongError as error:
            wrong.append(error)
    deepest = max(wrong, key=lambda error: error.name.count("."))
    same = [error.wanted for error in wrong if error.name == deepest.name and error.wanted]
    raise _WrongError(deepest.name, deepest.what, " or ".join(same))


def _of_a_form(forms: FormsOf, value: Any, name: str, *, parsed: bool) -> Any:
    """Return a record of one of the forms."""
    if parsed:
        return _one_of(forms.classes(), value, name, parsed=True)
    if not is_dataclass(value) or isinstance(value, type) or not isinstance(getattr(value, "form", None), str):
        raise _WrongError(name, f"is {shortened(value)}", "a record of settings with a form")
    return value


def _items(parts: tuple[Any, ...], value: Any, name: str, *, parsed: bool) -> tuple[Any, ...]:
    if not isinstance(value, list if parsed else tuple):
        raise _WrongError(name, f"is {shortened(value)}", "a list" if parsed else "a tuple")
    forms = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
    if len(forms) != len(value):
        raise _WrongError(name, f"has {len(value)} values", f"{len(forms)} values")
    pairs = enumerate(zip(forms, value, strict=True))
    return tuple(_checked(form, item, f"{name}[{place}]", parsed=parsed) for place, (form, item) in pairs)


def _record(form: Any, value: Any, name: str, *, parsed: bool) -> Any:
    """Return a dataclass, or the fields of a ``TypedDict``; a field that may be missing has None for its default."""
    if not parsed and isinstance(value, form):
        return value  # checked when it was made
    if not parsed or not isinstance(value, Mapping):
        raise _WrongError(name, f"is {shortened(value)}", "an object of fields" if parsed else f"a {form.__name__}")
    hints = get_type_hints(form, include_extras=True)
    if is_typeddict(form):
        hints, needed = {key: hints[key] for key in hints}, form.__required_keys__
    else:
        needed = {field.name for field in fields(form) if field.default is MISSING or field.default is not None}
    values = {}
    for key, hint in hints.items():
        if key in value:
            values[key] = _checked(hint, value[key], _below(name, key), parsed=parsed)
        elif key in needed:
            raise _WrongError(_below(name, key), "is missing", "")
    for key in value:
        if key not in hints:
            raise _WrongError(_below(name, key), f"is unknown; the fields are {', '.join(hints)}", "")
    return values if is_typeddict(form) else form(**values)


def _below(name: str, key: object) -> str:
    short = shortened(key)[1:-1]
    return f"{name}.{short}" if name else short


def _deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for one in level:
            inner.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        level = inner
    return bool(level)


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number that may stand there")


def _finite(text: str) -> float:
    if isinf(number := float(text)):
        _not_finite(text)
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"{shortened(counts.most_common(1)[0][0])} stands there twice")
    return mapping
