"""The results of the run as a JSON document, a Markdown page and a table for a terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from studies.gpu.checks import write_json
from studies.gpu.schedule import Outcome

_BAD = ("wrong", "failed", "skipped")


def write_report(outcomes: Sequence[Outcome], folder: Path, *, budget: float, rehearsal: bool) -> None:
    """Write ``gpu.json`` and ``gpu.md``."""
    record = {"budget": budget, "rehearsal": rehearsal, "parts": [outcome._asdict() for outcome in outcomes]}
    write_json(folder / "gpu.json", record)
    (folder / "gpu.md").write_text(as_markdown(outcomes, rehearsal=rehearsal))


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return a line a part: its state, its time, the checks that are not right; and why a part did not end."""
    lines = [f"{'part':10} {'state':8} {'seconds':>7}  checks that are not right"]
    for one in outcomes:
        bad = [name for name, check in one.checks.items() if check["state"] in _BAD]
        count = (
            [f"{len(bad)} of {len(one.checks)}: {'; '.join(bad[:3])}{' ...' if len(bad) > 3 else ''}"] if bad else []
        )
        reason = one.reason.splitlines()[:1]
        lines.append(f"{one.part:10} {one.state:8} {one.seconds:7.1f}  {' '.join([*count, *reason])}".rstrip())
    return "\n".join(lines)


def as_markdown(outcomes: Sequence[Outcome], *, rehearsal: bool) -> str:
    """Return the page: the parts, the checks that are not right, then every part's checks with their results."""
    lines = [
        "# A rehearsal without a GPU" if rehearsal else "# A run on a GPU",
        "",
        "```",
        as_table(outcomes),
        "```",
        "",
    ]
    lines += _troubles(outcomes)
    for one in outcomes:
        lines += [f"## {one.part}: {one.state}, {one.seconds:.0f} s", ""]
        if one.checks:
            lines += ["| check | state | s | of its limit | results |", "|---|---|---|---|---|"]
            lines += [_row(name, check) for name, check in one.checks.items()]
            lines.append("")
            lines += _texts(one.checks)
    return "\n".join(lines)


def _troubles(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield from ["## Not right", ""]
    for one in outcomes:
        if one.reason:
            yield from [f"**{one.part}**", "", "```", one.reason, "```", ""]
        for name, check in one.checks.items():
            if check["state"] in ("wrong", "failed"):
                yield from [f"**{one.part}: {name}**", "", "```", check["error"], check.get("traceback", ""), "```", ""]


def _row(name: str, check: dict[str, Any]) -> str:
    values = check.get("found", {})
    shares = [float(value["value"]) / value["limit"] for value in values.values() if _limited(value) and value["limit"]]
    texts = [
        f"{key} {_short(value)}" for key, value in values.items() if not isinstance(value, dict) and not _long(value)
    ]
    if check["state"] in ("not run", "skipped"):
        texts.append(check["error"])
    worst = f"{max(shares):.2g}" if shares else ""
    return f"| {_cell(name)} | {check['state']} | {check['seconds']:.1f} | {worst} | {_cell(', '.join(texts))} |"


def _texts(checks: dict[str, Any]) -> Iterator[str]:
    """Yield the results that are too large for a table: rows of several numbers, and texts of many lines."""
    for name, check in checks.items():
        rows = [(key, value) for key, value in check.get("found", {}).items()
                if isinstance(value, dict) and not _limited(value)]  # fmt: skip
        if rows:
            yield from [f"### {name}", "", *(f"- {key}: {_short(value)}" for key, value in rows), ""]
        for key, value in check.get("found", {}).items():
            if _long(value):
                yield from [f"### {name}: {key}", "", "```", value, "```", ""]


def _limited(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"value", "limit"}


def _long(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(part)}" for key, part in value.items() if part is not None)
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
