"""Ctrl-C, as a terminal sends it to all processes of a command: a sentence and exit code 130, whatever it does."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import os, sys
from fsrcache.cli import main
sys.modules["fsrcache.cli.main"].wait_passively = lambda: os.write(2, b"begun\\n")  # its first act
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1, 4])  # while it imports, and at its work
@pytest.mark.parametrize(
    "words",
    [
        ["data", "drawn:100000"],
        ["draw", "faces", "--count", "100000"],
        ["bench", "all", "--device", "cpu"],
        ["pretrain", "--data", "drawn:1400", "--epochs", "500"],
    ],
    ids=lambda words: words[0],
)
def test_an_interrupted_command_says_so_and_exits_with_130(tmp_path, words, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tmp_path,
        start_new_session=True, text=True,
    )  # fmt: skip
    assert process.stderr.readline() == "begun\n"
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    onwards = " to go on" if words[0] in ("draw", "pretrain") else ""
    assert said.endswith(f"Error: Interrupted.\nRun the same command again{onwards}.\n")
    assert "Traceback" not in said


IMPORTING = """
import os, pathlib, signal, sys
from fsrcache.cli import main
pathlib.Path("slow.py").write_text(
    "import os, signal, time\\nos.kill(os.getpid(), signal.SIGINT)\\ntime.sleep(0.2)\\nprint('imported', flush=True)\\n"
)
sys.path.insert(0, ".")

def work():
    import slow
    import time
    for _ in range(500): time.sleep(0.01)

sys.modules["fsrcache.cli.main"].group.main = lambda **_: work()
main()
"""


def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=False, cwd=tmp_path
    )  # fmt: skip
    assert done.stdout == "imported\n"
    assert done.returncode == 130
    assert done.stderr == "Error: Interrupted.\nRun the same command again.\n"


SETTING_STREAMS = """
import codecs, os, signal, sys, time
from fsrcache.cli import main

begin = codecs.IncrementalEncoder.__init__
streams = iter(["stdout", "stderr"])

def begin_interrupted(self, errors="strict"):
    if next(streams) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGINT)
    begin(self, errors)

codecs.IncrementalEncoder.__init__ = begin_interrupted
sys.modules["fsrcache.cli.main"].group.main = lambda **_: [time.sleep(0.01) for _ in range(500)]
main()
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_interrupt_leaves_a_stream_its_encoder(tmp_path, stream):
    done = subprocess.run(
        [sys.executable, "-c", SETTING_STREAMS, stream], capture_output=True, text=True, check=False, cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "Error: Interrupted.\nRun the same command again.\n"
