"""Builds these pages with Sphinx; `make docs` runs it, and every warning is an error."""

import re
from typing import Any

import click
from sphinx.application import Sphinx

import fsrcache
from fsrcache.cli.help import EXAMPLES

project = "fsrcache"
author = "the authors of fsrcache"
version = release = fsrcache.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
smartquotes = False  # they make a dash of an option's two hyphens
html_theme = "furo"
html_title = f"fsrcache {version}"

myst_heading_anchors = 4  # headings have the anchors that GitHub gives them

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # a list, as of parameters: no second entry of a property
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written
autodoc_typehints_format = "short"

# Objects of other packages, which have pages of their own.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|nn|pandas|zarr|Store|collections|os|PathLike|pathlib)\b.*"),
]


def add_navigation(text: str) -> str:
    """Append a table of contents for every section of the index: its lists of links are the navigation."""
    tables = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        pages = "\n".join(re.findall(r"^- \[[^]]+\]\(([\w-]+)\.md\)", section, re.MULTILINE))
        tables.append(f"```{{toctree}}\n:hidden:\n:caption: {section.splitlines()[0]}\n\n{pages}\n```")
    return "\n\n".join((text, *tables))


def prepare(_: Sphinx, name: str, source: list[str]) -> None:
    """Change a page's text for Sphinx: the navigation, and links to Markdown files that are no pages."""
    text = add_navigation(source[0]) if name == "index" else source[0]
    source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)\)", r"](path:\1)", text)


def without_ranges(*event: Any) -> tuple[str, str] | None:
    """Return signature and return annotation with the types of ``Annotated`` alone: docstrings have the ranges."""
    signature, returned = event[-2:]
    return signature and (re.sub(r"~?[\w.]*Annotated\[(.+?), ~?[\w.]+\(.*?\)\]", r"\1", signature), returned)


def add_examples(_: Sphinx, command: click.Context, lines: list[str]) -> None:
    """Add the examples that end a command's help."""
    for purpose, example in EXAMPLES.get(command.info_name or "", ()):
        lines += [purpose, "", ".. code-block:: console", "", f"   $ {example}", ""]


def setup(app: Sphinx) -> None:
    """Register what Sphinx calls."""
    app.connect("source-read", prepare)
    app.connect("autodoc-process-signature", without_ranges)
    app.connect("sphinx-click-process-epilog", add_examples)
