"""A workspace with a pre-trained extractor, made once."""

import shutil

import pytest
from fsrcache.benchmarks.program import run


@pytest.fixture(scope="session")
def pretrained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    done = run("pretrain", "--data", "drawn:140", "--side", 24, "--epochs", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def pretrained(pretrained_once, tmp_path):
    """A folder whose workspace has an extractor for its 140 drawn faces."""
    shutil.copytree(pretrained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path
