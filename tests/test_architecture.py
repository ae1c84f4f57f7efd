"""The package keeps its layers: who may import whom, no bare `kernels`, no torch where there must be none."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOMES = {
    "fsrcache": "fsrcache",
    "cli": "fsrcache.cli",
    "kernels": "fsrcache.kernels",
    "benchmarks": "fsrcache.benchmarks",
    "studies": "studies",
}

# A module's layer is that of the longest name here that begins its own; it imports only from lower layers,
# or from its own folder.
LAYERS = {
    "fsrcache": 0,
    "fsrcache.errors": 0,
    "fsrcache.files": 1,
    "fsrcache.records": 1,
    "fsrcache.split_names": 1,
    "fsrcache.contradictions": 1,
    "fsrcache.threads": 1,
    "fsrcache.memory": 1,
    "fsrcache.kernels": 1,
    "fsrcache.faces.expressions": 1,
    "fsrcache.presets": 2,
    "fsrcache.settings": 3,
    "fsrcache.progress": 1,
    "fsrcache.announce": 2,
    "fsrcache.held_out": 2,
    "fsrcache.device": 2,
    "fsrcache.ahead": 2,
    "fsrcache.workspace": 2,
    "fsrcache.spd": 2,
    "fsrcache.drawn": 2,
    "fsrcache.faces.bicubic": 2,
    "fsrcache.faces.bicubic_torch": 2,
    "fsrcache.faces.degrade": 2,
    "fsrcache.models": 3,
    "fsrcache.store": 3,
    "fsrcache.faces": 3,
    "fsrcache.extractors": 4,
    "fsrcache.extraction": 5,
    "fsrcache.training": 5,
    "fsrcache.evaluation": 5,
    "fsrcache.deployment": 5,
    "fsrcache.model": 6,
    "fsrcache.reports": 6,
    "fsrcache.rows": 6,
    "fsrcache.prediction": 7,
    "fsrcache.verbs": 8,
    "fsrcache.benchmarks": 9,
    "fsrcache.cli": 10,
    "fsrcache.__main__": 11,
    "studies": 11,
}
WITHOUT_TORCH = ("fsrcache.store", "fsrcache.faces", "fsrcache.errors", "fsrcache.presets", "fsrcache.cli")


def modules():
    """Yield (name, path) of every module of the package."""
    for folder, package in HOMES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), path


def imports(path):
    """Yield every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module


def layer(name):
    """Return the layer of a module."""
    known = [place for place in LAYERS if name == place or (place != "fsrcache" and name.startswith(place + "."))]
    return LAYERS[max(known, key=len)]


def same_package(imported, name):
    """Tell whether two modules lie in one folder of the package, or are both studies."""
    package = imported.split(".")[:2] if imported.startswith("fsrcache.") else ["studies"]
    inside = len(imported.split(".")) > len(package)
    return inside and name.split(".")[: len(package)] == package


MODULES = dict(modules())


def test_the_house_is_found():
    assert len(MODULES) > 20
    assert layer("fsrcache.cli.data") == 10
    assert layer("fsrcache.faces.layouts.table") == 3
    assert layer("fsrcache.training.run.train") == 5


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    for imported in imports(MODULES[name]):
        assert imported.split(".")[0] not in ("kernels", "cli", "benchmarks"), f"{name}: import it as fsrcache.*"
        if imported.split(".")[0] in ("fsrcache", "studies") and name != "fsrcache":
            assert layer(imported) < layer(name) or same_package(imported, name), f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith(WITHOUT_TORCH)])
def test_packages_without_torch(name):
    if name != "fsrcache.faces.bicubic_torch":
        assert not {"torch", "triton"} & {imported.split(".")[0] for imported in imports(MODULES[name])}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_tests_import_only_the_package(path):
    assert path.name != "__init__.py"
    assert not {"kernels", "cli", "benchmarks"} & {imported.split(".")[0] for imported in imports(path)}


def test_every_folder_is_packaged():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name for name, path in MODULES.items() if path.name == "__init__.py" and name.startswith("fsrcache")}
    of_data = setuptools["package-data"].keys() - {"fsrcache"}
    assert all((ROOT / name.replace(".", "/")).is_dir() for name in of_data)
    assert set(setuptools["packages"]) == folders | of_data


@pytest.mark.parametrize("name", MODULES)
def test_a_file_has_one_job_and_says_it(name):
    text = MODULES[name].read_text()
    assert ast.get_docstring(ast.parse(text)), f"{name} says nothing of itself"
    assert text.count("\n") <= 400, f"{name} has grown too large for one job"
    assert MODULES[name].stem not in ("utils", "common", "helpers", "base")
