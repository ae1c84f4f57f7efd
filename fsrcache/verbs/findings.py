"""What an examination finds, thing by thing, and one that goes on when a thing cannot be examined."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fsrcache.errors import FsrcacheError

_UNFORESEEN = "If an import failed, install that package again; otherwise it is an error in fsrcache to report."


@dataclass(frozen=True)
class Finding:
    """The state of one thing.

    Attributes
    ----------
    subject
        The thing in a word or two, such as ``device``.
    text
        Its state in words.
    ok
        Whether nothing has to be done about it.
    remedy
        What to do about it, or what comes next, a ``Remedy`` where it shows calls; may be empty.
    """

    subject: str
    text: str
    ok: bool = True
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The findings of ``fsrcache doctor``, in the order in which one thing depends on another.

    Attributes
    ----------
    findings
        One or more for every thing that was examined.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing has to be done."""
        return all(finding.ok for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}


def examined(subject: str, examination: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return the findings of an examination; its failure, whatever it is, is the last of them."""
    findings: list[Finding] = []
    try:
        findings.extend(examination())
    except FsrcacheError as error:
        findings.append(Finding(subject, error.what, ok=False, remedy=error.remedy))
    except OSError as error:
        findings.append(Finding(subject, f"{error}.", ok=False, remedy="Check the path and its permissions."))
    except Exception as error:  # the other things are worth a look all the same
        first = str(error).strip().partition("\n")[0]
        text = f"It cannot be examined: {type(error).__name__}: {first}"
        findings.append(Finding(subject, text, ok=False, remedy=_UNFORESEEN))
    return findings
