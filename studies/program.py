"""fsrcache's commands in processes of their own, forked from one that has loaded everything: no start to wait for.

For what starts many of them, kills them and looks at what they left. On Windows, which does not fork, each starts anew.
"""

import json
import multiprocessing
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from signal import Signals
from tempfile import mkdtemp
from typing import Any, NamedTuple

if sys.platform == "win32":
    _CONTEXT = multiprocessing.get_context("spawn")
else:
    _CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [f"fsrcache.cli.{name}" for name in ("pretrain", "extract", "verify", "train", "baselines", "evaluate")]
)
_PATIENCE = 300.0  # seconds


class Done(NamedTuple):
    """How a command ended: its exit code, minus a signal's number if that ended it, and what it said."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON document on standard output."""
        record: dict[str, Any] = json.loads(self.stdout)
        return record


class Running:
    """A command at its work.

    Parameters
    ----------
    words
        Its name, arguments and options.
    cwd
        The folder it runs in; this process's where None.
    environment
        Variables beside those that are set here.
    """

    def __init__(self, *words: object, cwd: Path | None = None, **environment: str) -> None:
        self._said = Path(mkdtemp(prefix="fsrcache-program-"))
        arguments = (list(map(str, words)), os.fspath(cwd or Path.cwd()), environment, os.fspath(self._said))
        self._process = _CONTEXT.Process(target=_program, args=arguments)
        self._process.start()

    def said(self, name: str = "stderr") -> str:
        """Return what it has said so far."""
        with suppress(FileNotFoundError):
            return (self._said / name).read_text(errors="replace")
        return ""

    def until(self, *texts: str) -> bool:
        """Wait until it has said one of these on standard error, and tell whether it has: it may end before."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            ended = not self._process.is_alive()
            if any(text in self.said() for text in texts):
                return True
            if ended:
                return False
            time.sleep(0.002)
        raise TimeoutError(f"The command said none of {texts}: {self.said()}")

    def signal(self, number: Signals) -> None:
        """Send it a signal, if it has not ended."""
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self) -> Done:
        """Wait for its end."""
        self._process.join(_PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"The command did not end: {self.said()}")
        done = Done(self._process.exitcode, self.said("stdout"), self.said())
        rmtree(self._said)
        return done


def run(*words: object, cwd: Path | None = None, **environment: str) -> Done:
    """Run a command to its end; arguments as of :class:`Running`."""
    return Running(*words, cwd=cwd, **environment).wait()


def _program(words: list[str], cwd: str, environment: dict[str, str], said: str) -> None:
    """Be the program, from here on."""
    os.chdir(cwd)
    os.environ.update(environment)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(os.path.join(said, name), os.O_WRONLY | os.O_CREAT), number)  # noqa: PTH118
    if threads := environment.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    from fsrcache.cli.main import main

    sys.argv = ["fsrcache", *words]
    main(words)
