"""README, pages and program agree: commands are understood, Python runs, links lead somewhere, figures name a file."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

import fsrcache
from fsrcache import kernels, spd
from fsrcache.cli.main import COMMANDS, group
from fsrcache.store.verify import verify
from studies.program import run

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
RESULTS = "benchmarks/results/"
NOT_MEASURED = ("docs/gpu.md", "docs/method.md")  # estimates, and figures of the paper


def blocks(text, language):
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text):
    """Return the commands that a page shows."""
    lines = (line for block in blocks(text, "console") for line in block.splitlines())
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def anchors(text):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections(text):
    """Return a page's sections, each from its heading to the next."""
    return re.split(r"^(?=#+ )", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)


def rows(text):
    """Return the figures of every row of the tables of a text, without marks and deviations."""
    lines = (re.sub(r"\\~|\*\*| ±\d+\.\d", "", line) for line in text.splitlines() if line.startswith("|"))
    return [tuple(re.findall(r"(?<=\| )-?\d+(?:\.\d+)?(?= \|)", line.replace("|", "| |"))) for line in lines]


SHOWN = [(page, line) for page, text in PAGES.items() for line in commands(text)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_a_page(command):
    assert any(line.startswith(f"fsrcache {command}") for _, line in SHOWN)


@pytest.mark.parametrize(("page", "line"), [one for one in SHOWN if one[1].startswith("fsrcache")])
def test_every_command_in_a_page_is_understood(page, line):
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(group, info_name="fsrcache")
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version")
        return
    command = group.get_command(context, words[0])
    assert command is not None, page
    if "--help" not in words:
        command.make_context(words[0], words[1:], parent=context, resilient_parsing=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command):
    loaded = group.get_command(click.Context(group), command)
    assert loaded is not None
    assert loaded.get_short_help_str()
    for parameter in loaded.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{command} {parameter.opts}"


def test_studies_in_the_pages_exist():
    named = {name for text in PAGES.values() for name in re.findall(r"\bstudies\.([a-z]\w*)", text)}
    assert {"table", "variants", "way_picture"} <= named
    for name in named:
        assert (ROOT / "studies" / f"{name}.py").exists() or (ROOT / "studies" / name).is_dir(), name


def test_make_targets_in_the_pages_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [line.split()[1] for _, line in SHOWN if line.startswith("make ")]
    assert {"demo", "test", "docs"} <= set(named) <= set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.read_text()), target


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_as_wide_as_those_of_the_code(page):
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_every_page_is_in_the_navigation():
    linked = set(re.findall(r"^- \[[^]]+\]\(([\w-]+\.md)\)", PAGES["docs/index.md"], re.MULTILINE))
    assert linked == {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"}


def test_every_public_name_is_in_the_api():
    named = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", PAGES["docs/api.md"], re.MULTILINE))
    public = {f"{package.__name__}.{name}" for package in (fsrcache, kernels, spd) for name in package.__all__}
    assert public - {"fsrcache.__version__"} <= named


def test_the_readme_is_a_door():
    assert len(PAGES["README.md"].splitlines()) <= 160
    assert "prohibited" in PAGES["README.md"]


def test_figures_name_the_file_that_they_come_from():
    measured = {}
    for page in PAGES.keys() - NOT_MEASURED:
        for section in sections(PAGES[page]):
            if re.search(r"^\|.*\d\.\d", section, re.MULTILINE):
                measured[page] = measured.get(page, 0) + 1
                assert re.search(rf"\]\((?:\.\./)?{RESULTS}[\w.-]+\.(?:json|md)\)", section), f"{page}: {section[:200]}"
    assert {"README.md", "docs/kernels.md", "docs/store.md", "docs/training.md"} <= measured.keys()
    assert measured["docs/results.md"] >= 3
    assert measured["docs/ablations.md"] >= 3


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_accuracies_are_those_of_the_file(page):
    compared = 0
    for section in sections(PAGES[page]):
        for name in set(re.findall(rf"{RESULTS}(fer2013[\w-]*\.md)\)", section)):
            known = set(rows((ROOT / RESULTS / name).read_text()))
            for row in rows(section):
                if len(row) >= 7:
                    compared += 1
                    assert row in known, f"{name} has no such row: {row}"
    assert compared >= 3


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with a small trained workspace in it, as the pages have it: ``fsr``."""
    folder = tmp_path_factory.mktemp("pages")
    for words in (
        ("pretrain", "--data", "drawn:140", "--side", 24, "--epochs", 1),
        ("extract", "--scales", "1,2,4,8"),
        ("train", "--steps", 2),
    ):
        done = run(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "fsr", folder / "demo")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(PAGES[page], "python")])
def test_python_in_a_page_runs_and_runs_again(page, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    for _ in range(2):
        names = {"__name__": "page"}
        for block in blocks(PAGES[page], "python"):
            exec(compile(block, page, "exec"), names)
        printed = capsys.readouterr().out
        if page == "docs/store.md":
            assert float(printed.rpartition("accuracy on test: ")[2]) > 0.8
            assert verify(workspace / "vectors.zarr").ok
        if page == "docs/own-network.md":
            features, embedding, logits = names["factory"]().embed(names["torch"].zeros(2, 1, 32, 32))
            assert (features.shape, embedding.shape, logits.shape) == ((2, 392), (2, 16), (2, 2))
