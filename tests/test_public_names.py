"""The names of the package: each there, documented, and none hidden by a module."""

import inspect
import subprocess
import sys

import pytest

import fsrcache

VERBS = (
    "baselines", "doctor", "evaluate", "export", "extract", "info", "predict", "pretrain", "report", "runs", "sweep",
    "train", "verify",
)  # fmt: skip


@pytest.mark.parametrize("name", fsrcache.__all__)
def test_a_public_name_is_there_and_says_what_it_is(name):
    value = getattr(fsrcache, name)
    assert name == "__version__" or inspect.getdoc(value)
    assert name in dir(fsrcache)


def test_verbs_stay_functions_whatever_was_imported():
    program = "import importlib, fsrcache\n"
    program += "".join(f"importlib.import_module('fsrcache.verbs.{verb}')\n" for verb in VERBS)
    program += "import fsrcache.cli, fsrcache.model\n"
    program += f"assert all(callable(getattr(fsrcache, name)) for name in {(*VERBS, 'load')})\n"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_is_imported_at_once():
    program = (
        "import sys, time; began = time.perf_counter(); import fsrcache; spent = time.perf_counter() - began\n"
        "print(spent, [name for name in ('torch', 'zarr', 'numpy', 'click') if name in sys.modules])"
    )
    answers = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(" ", 1)
        for _ in range(3)
    ]
    assert {modules.strip() for _, modules in answers} == {"[]"}
    assert min(float(spent) for spent, _ in answers) < 0.03
