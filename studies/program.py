"""fsrcache's commands in processes of their own, forked from one that has imported everything, which starts fast.

For tests and studies that start and kill many and inspect their files. Windows does not fork: there each starts anew.
"""

import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
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
    [
        f"fsrcache.{package}.{name}"
        for name in ("pretrain", "extract", "verify", "train", "baselines", "evaluate")
        for package in ("cli", "verbs")
    ]
)
_PATIENCE = 300.0  # seconds


class CommandResult(NamedTuple):
    """The result of a command: its exit code, or minus the signal that ended it, and its output."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON document on standard output."""
        record: dict[str, Any] = json.loads(self.stdout)
        return record


class Running:
    """A running command.

    Parameters
    ----------
    words
        Name of the command, its arguments and options; or ``-c``, a program in Python and its arguments.
    cwd
        Folder that it runs in; this process's if None.
    environment
        Environment variables beside those of this process.
    """

    def __init__(self, *words: object, cwd: Path | None = None, **environment: str) -> None:
        self.store: object = None  # of the ranks that it is one of; it lives as long as they do
        self._folder = Path(mkdtemp(prefix="fsrcache-program-"))
        arguments = (list(map(str, words)), os.fspath(cwd or Path.cwd()), environment, os.fspath(self._folder))
        self._process = _CONTEXT.Process(target=_program, args=arguments)
        self._process.start()

    def output(self, name: str = "stderr") -> str:
        """Return its standard error or output so far."""
        with suppress(FileNotFoundError):
            return (self._folder / name).read_text(errors="replace")
        return ""

    def until(self, *texts: str) -> bool:
        """Wait until standard error has one of these texts; return whether it has: the command may end before."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            ended = not self._process.is_alive()
            if any(text in self.output() for text in texts):
                return True
            if ended:
                return False
            time.sleep(0.002)
        raise TimeoutError(f"The command printed none of {texts}: {self.output()}")

    def signal(self, number: Signals) -> None:
        """Send a signal, unless it has ended."""
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self) -> CommandResult:
        """Wait for the end and return the result."""
        self._process.join(_PATIENCE)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"The command did not end: {self.output()}")
        result = CommandResult(self._process.exitcode, self.output("stdout"), self.output())
        rmtree(self._folder)
        return result


def run(*words: object, cwd: Path | None = None, **environment: str) -> CommandResult:
    """Run a command to its end, with the arguments of :class:`Running`."""
    return Running(*words, cwd=cwd, **environment).wait()


def begin_ranks(number: int, *words: object, cwd: Path | None = None, **environment: str) -> list[Running]:
    """Begin a command on so many ranks, as torchrun does, but nobody watches over them; return them by rank."""
    if number == 1:
        return [Running(*words, cwd=cwd, OMP_NUM_THREADS="1", **environment)]
    from torch._C._distributed_c10d import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    size = str(number)
    ranks = [
        Running(
            *words, cwd=cwd, OMP_NUM_THREADS="1", RANK=str(rank), WORLD_SIZE=size, LOCAL_RANK=str(rank),
            LOCAL_WORLD_SIZE=size, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port),
            TORCHELASTIC_USE_AGENT_STORE="True", **environment,
        )
        for rank in range(number)
    ]  # fmt: skip
    for rank in ranks:
        rank.store = store
    return ranks


def begin_torchrun(number: int, *words: object, options: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Begin a command, or a program behind ``-c``, by torchrun itself, in a session of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", *options]
    program = [] if words[0] == "-c" else ["-m", "fsrcache"]
    return subprocess.Popen(
        [*launcher, "--no-python", sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip


def processes_of(torchrun: "subprocess.Popen[str]") -> dict[int, int]:
    """Return the numbers of the processes that torchrun started, by rank; Linux has them."""
    processes = {}
    for child in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        rank = re.search(rb"\0RANK=([0-9]+)\0", Path(f"/proc/{child}/environ").read_bytes())
        if rank:
            processes[int(rank[1])] = int(child)
    return processes


def run_ranks(number: int, *words: object, cwd: Path | None = None, **environment: str) -> list[CommandResult]:
    """Run a command on so many ranks to their ends, with the arguments of :func:`begin_ranks`."""
    return [running.wait() for running in begin_ranks(number, *words, cwd=cwd, **environment)]


def _program(words: list[str], cwd: str, environment: dict[str, str], folder: str) -> None:
    """Run the command in this process, its output in files of a folder."""
    os.chdir(cwd)
    os.environ.update(environment)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT), number)  # noqa: PTH118
    if threads := environment.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    if words[:1] == ["-c"]:
        sys.argv = ["-c", *words[2:]]
        exec(words[1], {"__name__": "__main__"})
        return
    from fsrcache.cli import progress
    from fsrcache.cli.main import main

    progress._SECONDS_OF_ONE_LINE = 0.0  # every phase has a line, to wait for
    sys.argv = ["fsrcache", *words]
    main(words)
