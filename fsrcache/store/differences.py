"""How the content of two stores differs, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from fsrcache.records import shortened
from fsrcache.store.spec import StoreSpec

_FACES = ("digests.pictures", "digests.labels", "digests.order", "rows", "classes")
_CUT = ("chunk", "block")  # they follow from rows and widths


def content_differences(there: StoreSpec, here: StoreSpec) -> list[str]:
    """Return what differs, a clause each; none where the content is the same, whatever the scales.

    Parameters
    ----------
    there, here
        What a store is about, and what somebody wants to write into it.
    """
    names, extra = here.differences(there), list(_extra(there, here))
    if not names:
        return extra
    clauses = [*face_differences(there, here), *_extractor(names, there, here), *_recipe(there, here)]
    others = [name for name in names if not name.startswith("digests.") and name not in (*_FACES, "recipe")]
    if "rows" in names or "widths" in others:
        others = [name for name in others if name not in _CUT]
    clauses += [_clause(name, getattr(there, name), getattr(here, name)) for name in others]
    clauses = clauses or extra
    return clauses or ["its pixels are prepared otherwise"]  # which no field but a digest says


def face_differences(there: StoreSpec, here: StoreSpec) -> list[str]:
    """Return how the faces differ, a clause each: their number, their classes, the pictures, the labels."""
    names = here.differences(there)
    clauses = []
    if "rows" in names or "digests.pictures" in names:
        stored, now = _faces(there), _faces(here)
        others = f"its faces are as many, {now}, and others"
        clauses.append(others if stored == now else _clause("faces", stored, now))
    if "classes" in names:
        clauses.append(_clause("classes", ", ".join(there.classes), ", ".join(here.classes)))
    elif "digests.labels" in names and not clauses:
        clauses.append("its faces are the same under other labels")
    if "digests.order" in names and not clauses:
        clauses.append("its faces are in another order")
    return clauses


def _faces(spec: StoreSpec) -> str:
    """Return how many faces there are, and of which data."""
    counts = ", ".join(f"{split} {count:,}" for split, count in spec.rows.items())
    return f"{counts} of {spec.data}" if spec.data else counts


def _extractor(names: list[str], there: StoreSpec, here: StoreSpec) -> Iterator[str]:
    if "digests.weights" in names:
        stored, now = (spec.recipe.get("extractor") for spec in (there, here))
        named = "" if stored is None else f", {_value(stored)},"
        yield f"its extractor{named} has other weights" if stored == now else _clause("extractor", stored, now)


def _extra(there: StoreSpec, here: StoreSpec) -> Iterator[str]:
    """Yield the extra splits of both that hold other pictures."""
    for split, one in here.extra.items():
        if (stored := there.extra.get(split, one)) != one:
            counts = " and ".join(f"{count['rows']:,} {where}" for count, where in ((stored, "there"), (one, "here")))
            yield f"its faces of {split} are others, {counts}"


def _recipe(there: StoreSpec, here: StoreSpec) -> Iterator[str]:
    """Yield the values of the recipe that differ, the extractor's name left out."""
    stored, now = dict(_leaves(there.recipe)), dict(_leaves(here.recipe))
    for name in sorted({*stored, *now} - {"extractor"}):
        if stored.get(name) != now.get(name):
            yield _clause(name, stored.get(name), now.get(name))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value


def _clause(name: str, there: object, here: object) -> str:
    return f"its {name} {'are' if name.endswith('s') else 'is'} {_value(there)} there and {_value(here)} here"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if value is None:
        return "none"
    return f"{value:,}" if type(value) is int else shortened(value).strip("'")
