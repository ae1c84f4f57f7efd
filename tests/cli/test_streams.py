"""Standard streams as they come: of another encoding, full, closed by their reader; and the answer before its files."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path

import click
import pytest
from rich.console import Console

from fsrcache.cli.main import after_answer, group, main
from fsrcache.cli.progress import shown
from fsrcache.errors import FsrcacheError
from fsrcache.progress import Progress

NAMES = ("лицо.png", "😀.png", "é.png")
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FULL = Path("/dev/full")


def start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    """Start the program as a shell does: its streams are made by Python, not inherited from a test's."""
    command = [sys.executable, "-c", "from fsrcache.cli import main; main()", *map(str, words)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONIO", "PYTHONUN"))}
    return subprocess.Popen(command, stdout=stdout, stderr=stderr, env=kept | environment)


def run(*words, **options):
    process = start(*words, **options)
    out, said = process.communicate(timeout=120)
    assert b"Traceback" not in (said or b"")
    assert b"Exception ignored" not in (said or b"")
    return process.returncode, out or b"", said or b""


@pytest.fixture
def faces(tmp_path):
    """A folder of files that are no pictures, which are therefore named."""
    folder = tmp_path / "faces" / "train" / "happy"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text("-")
    return tmp_path / "faces"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1:strict", "cp1252", "utf-8:strict"])
def test_what_a_stream_cannot_encode_is_escaped(faces, encoding):
    code, out, _ = run("data", faces, PYTHONIOENCODING=encoding)
    assert code == 1
    encoding = encoding.removesuffix(":strict")
    assert all(name.encode(encoding, "backslashreplace") in out for name in NAMES)
    code, out, _ = run("data", "--json", faces, PYTHONIOENCODING=encoding)
    assert code == 1
    record = json.loads(out.decode(encoding))
    assert {Path(entry["path"]).name for entry in record["unreadable"]} == set(NAMES)


@pytest.mark.parametrize("environment", [*({"PYTHONIOENCODING": name} for name in ("ascii", "utf-8:strict")), C_LOCALE])
def test_a_name_of_no_characters_is_escaped_in_an_error(environment):
    code, out, said = run("data", "--json", os.fsdecode(b"nowhere-\xff"), **environment)
    assert code == 2
    assert json.loads(out)["error"] == "There is nothing at nowhere-\udcff."
    assert said.splitlines()[0] == rb"Error: There is nothing at nowhere-\udcff."


@pytest.mark.parametrize("words", [["data", "drawn:7"], ["data", "drawn:7", "--json"], ["--help"]])
def test_a_locale_of_ascii_alone_is_enough(words):
    assert run(*words, **C_LOCALE)[0] == 0


@pytest.mark.skipif(not FULL.exists(), reason="no such device on this system")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words", [["--help"], ["data", "drawn:7"], ["data", "drawn:7", "--json"], ["draw", "faces", "--count", "1"]]
)
def test_a_full_device_is_said_in_a_sentence(tmp_path, monkeypatch, words, unbuffered):
    monkeypatch.chdir(tmp_path)
    with FULL.open("wb") as full:
        code, _, said = run(*words, stdout=full, PYTHONUNBUFFERED=unbuffered)
        assert code == 1
        assert said.decode().splitlines() == [
            "Error: Standard output or a file cannot be written: No space left on device.",
            "Check the path, its permissions and the space left.",
        ]
        code, _, _ = run(*words, stdout=full, stderr=full, PYTHONUNBUFFERED=unbuffered)
        assert code == 1


@pytest.mark.skipif(not FULL.exists(), reason="no such device on this system")
def test_a_wrong_request_keeps_its_code_on_a_full_device():
    with FULL.open("wb") as full:
        code, _, said = run("data", "nowhere", "--json", stdout=full)
    assert code == 2
    assert said.startswith(b"Error: There is nothing at nowhere.")


@pytest.mark.parametrize("words", [["--help"], ["data", "drawn:7"], ["data", "drawn:7", "--json"]])
def test_a_reader_that_has_gone_ends_it_quietly(words):
    process = start(*words)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 1
    assert said == b""


@pytest.mark.parametrize("failure", [FsrcacheError("x cannot be written.", "Look."), OSError(28, "No space", "x")])
def test_a_failure_after_the_answer_leaves_one_document(monkeypatch, capsys, failure):
    @click.command
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json):
        assert as_json
        click.echo('{"a": 1}')
        with after_answer():
            raise failure

    monkeypatch.setattr(group, "get_command", lambda *_: command)
    with pytest.raises(SystemExit) as stop:
        main(["info", "--json"])
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"a": 1}
    assert said.err.splitlines()[0] in ("Error: x cannot be written.", "Error: x: No space.")


def on_terminal(*words, **environment):
    """Return what a command writes on a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb") as terminal:
        process = start(*words, stdout=theirs, stderr=theirs, **{"TERM": "xterm", "NO_COLOR": "", **environment})
        os.close(theirs)
        written = b""
        with suppress(OSError):  # its end, on Linux
            while more := os.read(terminal.fileno(), 4096):
                written += more
        process.wait(timeout=120)
    return written


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("words", [["nope"], pytest.param(["doctor"], marks=pytest.mark.slow)])
def test_colours_are_left_out_where_they_are_not_wanted(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert b"\x1b[" in on_terminal(*words)
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        plain = on_terminal(*words, **{name: value})
        assert b"\x1b" not in plain
        assert words[0].encode() in plain or b"kernels" in plain


@pytest.mark.parametrize("option", ["--plot", "--out"])
def test_a_benchmark_is_answered_before_its_files_are_written(monkeypatch, capsys, tmp_path, option):
    case = {"case": "an op", "candidate": "ours", "alternative": None, "alternative_ms": None, "ratio": None,
            "flop_per_byte": None, "ms": 1.0, "ms_p20": 0.9, "ms_p80": 1.1}  # fmt: skip
    record = {"cases": [case], "failed": [], "roofs": {"gb_per_second": 10.0, "tflop_per_second": 1.0}}

    def work(*_, on_progress, **__):
        on_progress("a case", record)
        return record

    monkeypatch.setattr("fsrcache.cli.bench.work", work)
    for name, expected in (("a.png", 0), (f"{'b' * 252}.png", 1)):  # 256 bytes: no file has such a name
        with pytest.raises(SystemExit) as stop:
            main(["bench", "--json", "--device", "cpu", option, str(tmp_path / name)])
        assert stop.value.code == expected
        said = capsys.readouterr()
        assert json.loads(said.out) == record
        assert said.err.splitlines()[0] == "a case"
        assert said.err.count("Error: ") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_progress_takes_names_as_they_are(capsys):
    with shown(Console(stderr=True)) as on_progress:
        on_progress(Progress("reading", 1, 2, "pictures", note="[bold]a[/x] of [/b"))
    assert capsys.readouterr().err.splitlines() == ["[bold]a[/x] of [/b", "reading: 1 of 2 pictures"]


@pytest.mark.parametrize("columns", ["20", "80"])  # in the narrower one names are folded beside empty cells
def test_a_piped_table_of_data_has_no_trailing_spaces(columns):
    _, out, _ = run("data", "drawn:70", COLUMNS=columns)
    assert b"train" in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


class Full(StringIO):
    """A stream that takes no more."""

    def flush(self):
        raise OSError(28, "No space left on device")


def test_progress_that_cannot_be_written_ends_no_work():
    stream = Full()
    with shown(Console(file=stream)) as on_progress:
        on_progress(Progress("reading", 1, 2, "pictures", note="a note"))
    assert "a note" in stream.getvalue()
