"""JSON that somebody else may have written: bounded before it is parsed, and no deeper than anything here follows."""

import json
from collections.abc import Iterable
from typing import Any

MOST_BYTES = 64 << 20  # a root of a million files is smaller
DEEPEST = 32
_MOST_VALUES = 4 << 20
_SHOWN = 160  # characters


def parse_record(data: bytes) -> dict[str, Any]:
    """Return the JSON object that a document holds.

    Raises
    ------
    ValueError
        If it is longer, has more values or is deeper than a document of a store, is no JSON object, or names a field
        twice.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"its metadata are longer than {MOST_BYTES >> 20} MiB")
    if sum(map(data.count, (b"[", b"{", b","))) > _MOST_VALUES:
        raise ValueError(f"its metadata have more than {_MOST_VALUES:,} values")
    try:
        record = json.loads(data, object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"its metadata are deeper than {DEEPEST} levels") from None
    if not isinstance(record, dict):
        raise ValueError(f"its metadata are {shown(record)}, no JSON object")
    if not within(record, DEEPEST):
        raise ValueError(f"its metadata are deeper than {DEEPEST} levels")
    return record


def within(value: Any, levels: int) -> bool:
    """Tell whether lists and mappings lie in each other no deeper than so many levels."""
    layer = [value]
    for _ in range(levels):
        layer = [inner for outer in layer if isinstance(outer, dict | list | tuple) for inner in _values(outer)]
    return not any(isinstance(inner, dict | list | tuple) for inner in layer)


def shown(value: Any) -> str:
    """Return a value as an error shows it: its beginning, where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no whole number of more than 4300 digits
        return f"{type(value).__name__} too long to be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def _values(outer: Any) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"its metadata name the field {shown(twice)} twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"its metadata hold {name}, which is no JSON")
