"""Settings as texts: ``generator.width=256`` changes a record of ``presets``, and a record is written as such texts.

A name is a field, with those of nested records behind a dot. A value is read as the field's annotation says: ``0.5``,
``true`` or ``false``, ``none``, a choice's own word; the items of a tuple are separated by commas, tuples in a tuple by
slashes (``stages=64/96,96/128`` has two stages).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from difflib import SequenceMatcher
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from fsrcache.errors import RequestError
from fsrcache.records import FormsOf, check_value, shortened

Config = TypeVar("Config")  # a record of presets
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_ALIKE = 0.6  # ratio of difflib, its own default for what is close
_SEPARATORS = ",/"  # between the items of a tuple, and between tuples in a tuple


def with_settings(config: Config, assignments: Sequence[str]) -> Config:
    """Return a record with some of its settings changed; the order of the assignments does not matter.

    Parameters
    ----------
    config
        A frozen dataclass that checks itself, such as ``TrainConfig``.
    assignments
        Texts ``name=value``. ``generator.form=rrdb`` replaces a generator of another form by the defaults of this one;
        ``critic=none`` removes the critic; ``critic.filters=8`` adds one with the other settings at their defaults.

    Raises
    ------
    RequestError
        If an assignment has no ``=``, a name is unknown or set twice, or a value is not what its field or the record
        takes.
    """
    example = "=".join(resolved(config)[0])
    texts = _assigned(assignments, setting_names(type(config)), example=example)
    changed: Config = _changed(config, texts, "")
    return changed


def refuse_text(assignments: Sequence[str]) -> None:
    """Raise if settings are one text, before anything takes them for a list of characters.

    Raises
    ------
    RequestError
        With the text.
    """
    if isinstance(assignments, str):
        text = shortened(assignments)
        raise RequestError(f"The settings are {text}.", f"Name a list of them: [{text}].")


def preset_named(presets: Mapping[str, Config], name: str) -> Config:
    """Return a preset.

    Raises
    ------
    RequestError
        If there is none of the name.
    """
    if name not in presets:
        raise RequestError(f"There is no preset {shortened(name)}.", f"The presets are {', '.join(presets)}.")
    return presets[name]


def alternatives(config: object, assignment: str) -> list[str]:
    """Return an assignment for every value of a text ``name=value,value``; the values themselves are not checked.

    Commas separate the values, and semicolons those of a tuple, which has commas of its own:
    ``betas=0,0.9;0.9,0.999``.

    Parameters
    ----------
    config
        A record that has the setting.
    assignment
        The text; one without ``=`` is returned as it is.
    """
    name, equals, text = _split(assignment)
    if not equals:
        return [assignment]
    separator = ";" if _is_tuple(type(config), name) else ","
    return [f"{name}={value.strip()}" for value in text.split(separator)]


def refuse_unknown_settings(assignments: Sequence[str], *kinds: type) -> None:
    """Raise unless every assignment is of a setting that one of some classes of records has.

    Parameters
    ----------
    assignments
        Texts ``name=value``.
    kinds
        Dataclasses, one at least.

    Raises
    ------
    RequestError
        If a text is no assignment, none of the classes has such a setting, or one is set twice.
    """
    known = list(dict.fromkeys(name for kind in kinds for name in setting_names(kind)))
    _assigned(assignments, known, example=f"{known[0]}=VALUE")


def split_settings(assignments: Sequence[str], *kinds: type) -> list[list[str]]:
    """Sort assignments by the class of records that has a setting of the name, for ``with_settings`` of each.

    Parameters
    ----------
    assignments
        Texts ``name=value``.
    kinds
        Dataclasses that share no name.

    Raises
    ------
    RequestError
        If a text is no assignment, none of the classes has such a setting, or one is set twice.
    """
    refuse_unknown_settings(assignments, *kinds)
    return [[one for one in assignments if _split(one)[0] in setting_names(kind)] for kind in kinds]


def values_from_texts(kind: type, assignments: Sequence[str]) -> dict[str, Any]:
    """Return the values that assignments mean for fields of a class of records, of which they need not set all.

    A text that means no value of its field stays as it is, for the record's own check.

    Raises
    ------
    RequestError
        If a text is no assignment, or a name is unknown or set twice.
    """
    hints = _hints(kind)
    texts = _assigned(assignments, list(hints), example=f"{next(iter(hints))}=VALUE")
    return {name: _value(hints[name], text) for name, text in texts.items()}


def flattened(config: object) -> dict[str, Any]:
    """Return the value of every setting of a record by its name, those of nested records behind a dot."""
    settings: dict[str, Any] = {}
    for name, hint in _hints(type(config)).items():
        value = getattr(config, name)
        if _kinds(hint) and value is not None:
            settings.update({f"{name}.{inner}": one for inner, one in flattened(value).items()})
        else:
            settings[name] = value
    return settings


def setting_names(kind: Any) -> list[str]:
    """Return the names of all settings that records of a class may have, whichever forms their nested records take."""
    names: dict[str, None] = {}
    for name, hint in _hints(kind).items():
        names[name] = None
        names.update((f"{name}.{inner}", None) for nested in _kinds(hint) for inner in setting_names(nested))
    return list(names)


def resolved(config: object) -> list[tuple[str, str]]:
    """Return the name and value of every setting of a record, as ``with_settings`` reads them."""
    return [(name, _text(value)) for name, value in flattened(config).items()]


def differences(config: Config, base: Config) -> list[str]:
    """Return the assignments that lead from one record to another of its class.

    Parameters
    ----------
    config
        The record they lead to.
    base
        The record that ``with_settings`` starts from. Where the two have nested records of different classes, every
        setting of the new one is named.
    """
    assignments: list[str] = []
    for name, hint in _hints(type(config)).items():
        value, before = getattr(config, name), getattr(base, name)
        if value == before:
            continue
        if not _kinds(hint) or value is None:
            assignments.append(f"{name}={_text(value)}")
        elif type(value) is type(before):
            assignments.extend(f"{name}.{inner}" for inner in differences(value, before))
        else:
            assignments.extend(f"{name}.{inner}={text}" for inner, text in resolved(value))
    return assignments


def nearest_preset(config: Config, presets: Mapping[str, Config]) -> tuple[str, list[str]]:
    """Return the name of the preset that a record differs least from, and the assignments that lead from it there."""
    changes = {name: differences(config, preset) for name, preset in presets.items()}
    name = min(changes, key=lambda one: len(changes[one]))
    return name, changes[name]


def preset_in_words(config: Config, presets: Mapping[str, Config]) -> str:
    """Return the nearest preset of a record and what differs from it, as ``preset best with steps=2000``."""
    name, changes = nearest_preset(config, presets)
    return f"preset {name}{' with ' * bool(changes)}{', '.join(changes)}"


def _split(assignment: str) -> tuple[str, str, str]:
    """Return name, ``=`` and text of an assignment; the last two are empty where there is no ``=``."""
    name, equals, text = (part.strip() for part in assignment.partition("="))
    return name, equals, text


def _assigned(assignments: Sequence[str], names: Sequence[str], *, example: str) -> dict[str, str]:
    """Return the text of every name that is set; the names must be known."""
    refuse_text(assignments)
    texts: dict[str, str] = {}
    for assignment in assignments:
        if not isinstance(assignment, str):
            raise RequestError(f"The setting {shortened(assignment)} is no text.", f"An example is {example}.")
        name, equals, text = _split(assignment)
        if not (name and equals):
            raise RequestError(f"The setting {shortened(assignment)} is not NAME=VALUE.", f"An example is {example}.")
        if name not in names:
            raise RequestError(f"The setting {shortened(name)} is unknown.", _nearest(name, names))
        if name in texts:
            both = f"{shortened(texts[name])} and {shortened(text)}"
            raise RequestError(f"{name} is set twice, to {both}.", "Set it once.")
        texts[name] = text
    return texts


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Return the classes of nested records that an annotation allows; they are told apart by ``form``."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for option in get_args(hint) for kind in _kinds(option))
    if get_origin(hint) is Annotated and isinstance(get_args(hint)[1], FormsOf):
        return tuple(get_args(hint)[1].classes())
    return (hint,) if is_dataclass(hint) else ()


def _hints(kind: Any) -> dict[str, Any]:
    """Return the annotation of every field."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _is_tuple(kind: Any, name: str) -> bool:
    """Tell whether a setting is a tuple in a record of a class; an unknown one is not."""
    head, _, rest = name.partition(".")
    hint = _hints(kind).get(head)
    return any(_is_tuple(nested, rest) for nested in _kinds(hint)) if rest else get_origin(hint) is tuple


def _nearest(name: str, names: Sequence[str]) -> str:
    """Return a sentence with the three names most alike one, as a whole or in their last parts; with all if none is."""

    def likeness(known: str) -> float:
        pairs = (name, known), (name.rpartition(".")[2], known.rpartition(".")[2])
        return max(SequenceMatcher(None, *pair).ratio() for pair in pairs)

    near = [known for known in sorted(names, key=likeness, reverse=True)[:3] if likeness(known) >= _ALIKE]
    return f"Did you mean {' or '.join(near)}?" if near else f"The settings are {', '.join(names)}."


def _changed(record: Any, texts: Mapping[str, str], prefix: str) -> Any:
    """Return a record with the values of known names."""
    hints = _hints(type(record))
    changes: dict[str, Any] = {}
    groups: dict[str, dict[str, str]] = {}
    for name, text in texts.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = text
    for head, group in groups.items():
        name, hint = f"{prefix}{head}", hints[head]
        if _kinds(hint):
            changes[head] = _nested(hint, getattr(record, head), group, name)
        else:
            changes[head] = _value(hint, group[""])
            check_value(hint, changes[head], name=name)
    return replace(record, **changes)


def _nested(hint: Any, record: Any, texts: Mapping[str, str], name: str) -> Any:
    """Return the nested record of a field, or None; the text of the field itself has the name ``""``."""
    kinds = _kinds(hint)
    if "" in texts:
        return _absent(hint, texts, name)
    kind = kinds[0] if record is None else type(record)
    if "form" in texts:
        forms = {one.form: one for one in kinds}
        if texts["form"] not in forms:
            choices = " or ".join(map(repr, forms))
            raise RequestError(f"{name}.form is {shortened(texts['form'])}.", f"It should be {choices}.")
        kind = forms[texts["form"]]
    for inner in texts:
        if inner not in setting_names(kind):
            owner = next(one.form for one in kinds if inner in setting_names(one))
            raise RequestError(
                f"{name}.{inner} is a setting of the form {owner}, and {name}.form is {kind.form}.",
                f"Set {name}.form={owner}, or leave {name}.{inner} out.",
            )
    return _changed(record if type(record) is kind else kind(), texts, f"{name}.")


def _absent(hint: Any, texts: Mapping[str, str], name: str) -> None:
    """Check that a field of nested records may be none, is set to that, and that nothing is set in it."""
    optional = NoneType in get_args(hint)
    if not optional or texts[""].lower() != "none":
        settings = ", ".join(dict.fromkeys(f"{name}.{inner}" for kind in _kinds(hint) for inner in setting_names(kind)))
        none = f"{name}=none, or " if optional else ""
        raise RequestError(
            f"{name} is {shortened(texts[''])}, and it has settings of its own.", f"Set {none}{settings}."
        )
    if len(texts) > 1:
        raise RequestError(f"{name} is none, and {name}.{max(texts)} is set.", "Leave out one of the two.")


def _value(hint: Any, text: str) -> Any:
    """Return what a text means by an annotation; a text that means nothing is returned itself, for the check."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _value(parts[0], text)
    if origin in (Union, UnionType):
        return _first(parts, text)
    if origin is Literal:
        return next((choice for choice in parts if _text(choice) == text), text)
    if origin is tuple:
        items = text.split(_SEPARATORS[_depth(hint) - 1]) if text else []
        forms = parts[:1] * len(items) if parts[-1] is Ellipsis else parts
        if len(forms) != len(items):
            return tuple(items)
        return tuple(_value(form, item) for form, item in zip(forms, items, strict=True))
    if hint is bool:
        return _BOOLEANS.get(text.lower(), text)
    if hint is NoneType:
        return None if text.lower() == "none" else text
    try:
        return hint(text)  # int, float or str
    except ValueError:
        return text


def _first(options: Sequence[Any], text: str) -> Any:
    """Return what a text means by the first option that takes it; else by the first that can read it, for the check."""
    values = [_value(option, text) for option in options]
    for option, value in zip(options, values, strict=True):
        try:
            check_value(option, value, name="")
        except RequestError:
            continue
        return value
    return next((value for value in values if value != text), text)


def _text(value: Any) -> str:
    """Return the text from which ``_value`` reads a value."""
    if isinstance(value, tuple):
        depth = max((1 + isinstance(item, tuple) for item in value), default=1)
        return _SEPARATORS[depth - 1].join(map(_text, value))
    return value if isinstance(value, str) else str(value).lower()  # True, None, 1e-05


def _depth(hint: Any) -> int:
    """Return how deep tuples are nested in an annotation: 1 is a plain tuple."""
    return (get_origin(hint) is tuple) + max(map(_depth, get_args(hint)), default=0)
