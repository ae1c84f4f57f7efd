"""The errors of the library: what was wrong, where, which value, and what to do about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self


class Blank(str):
    """A word that the reader replaces by a value of their own, such as ``PATH``; its ``repr`` has no quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Call:
    """A call of a verb that a remedy shows; as text it is Python.

    Attributes
    ----------
    verb
        Name of the function in ``fsrcache``; empty for arguments alone.
    arguments
        Keyword arguments by name. Without ``workspace`` and ``store`` the call is about the reader's workspace.
    """

    verb: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        values = dict(self.arguments)
        first = []
        if self.verb and not self.about_store:
            first = [repr(values.pop("workspace", Blank("workspace")))]
        text = ", ".join([*first, *(f"{name}={value!r}" for name, value in values.items())])
        return f"fsrcache.{self.verb}({text})" if self.verb else text

    @property
    def about_store(self) -> bool:
        """Whether the verb works on the store that is named, and on no workspace."""
        return self.verb in ("info", "verify") and "store" in self.arguments


def call(verb: str, **arguments: Any) -> Call:
    """Return a call of a verb, such as ``fsrcache.extract(workspace, data=PATH)`` with ``data=Blank("PATH")``."""
    return Call(verb, arguments)


def arguments(**values: Any) -> Call:
    """Return arguments alone, to be added to the reader's own call."""
    return Call("", values)


class Remedy(str):
    """What to do about an error, with calls in it: Python as text; a command line writes them its own way.

    Parameters
    ----------
    text
        One sentence with ``{}`` for each call.
    calls
        The calls, in order.
    """

    text: str
    calls: tuple[Call, ...]

    def __new__(cls, text: str, *calls: Call) -> Self:
        """Return the sentence with every call as Python."""
        remedy = super().__new__(cls, text.format(*calls))
        remedy.text, remedy.calls = text, calls
        return remedy

    def __getnewargs__(self) -> tuple[Any, ...]:  # for pickle
        return self.text, *self.calls

    def shown(self, show: Callable[[Call], str]) -> str:
        """Return the sentence with every call as ``show`` writes it."""
        return self.text.format(*map(show, self.calls))


class FsrcacheError(Exception):
    """The work failed, for a reason the user can read and act on (exit code 1).

    Parameters
    ----------
    what
        One sentence: what is wrong, where, with the offending value.
    remedy
        One sentence: what to do about it, a ``Remedy`` where it shows calls; empty where there is nothing to do.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n{remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class RequestError(FsrcacheError):
    """The request itself was wrong: an option, an argument or a path (exit code 2)."""

    exit_code = 2
