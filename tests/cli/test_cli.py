"""The command line from outside: help, exit codes, JSON alone on standard output, errors in words."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fsrcache.cli.main import COMMANDS
from fsrcache.cli.options import parse_scales
from studies.program import run


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "faces"
    for k, name in enumerate(("happy", "sad", "happy")):
        path = root / "train" / name / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (10, 10), np.uint8)).save(path)
    return root


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS if name not in ("baselines", "bench"))],
)
def test_help_is_quick(arguments):
    program = (
        "import sys\nfrom fsrcache.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit as stop: code = stop.code\n"
        "print([name for name in ('torch', 'zarr', 'matplotlib', 'sklearn') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_without_a_command_there_is_the_help_alone():
    done = run()
    assert (done.returncode, done.stdout) == (2, "")  # as of click itself
    assert done.stderr == run("--help").stdout


def test_help_lists_every_command_with_its_own_first_line():
    shown = run("--help").stdout
    for name, line in COMMANDS.items():
        assert line in shown
        assert f"Usage: fsrcache {name}" in run(name, "--help").stdout


def test_data_prints_and_answers_in_json(folder, tmp_path):
    shown = run("data", folder, "--sheet", tmp_path / "sheet.png", "--scales", "1,2,4")
    assert shown.returncode == 0, shown.stderr
    assert "class folders" in shown.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] == 92 + 3 * 104
    done = run("data", folder, "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0
    assert record["layout"] == "folders"
    assert record["splits"] == {"train": dict.fromkeys(record["classes"], 0) | {"happiness": 2, "sadness": 1}}
    assert (record["side"], record["resized"], record["unreadable"]) == (10, 0, [])


@pytest.mark.parametrize("columns", [80, 38, 30, 24, 10])
def test_figures_are_never_cut_or_folded(columns, tmp_path):
    usages = ["Training"] * 7 + ["PublicTest"] + ["PrivateTest"] * 2
    rows = [f"{number % 7},{number % 251},{usages[number // 7 % 10]}" for number in range(7000)]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    done = run("data", tmp_path / "fer2013.csv", COLUMNS=str(columns))
    lines = done.stdout.splitlines()
    words = [line.split() for line in lines]
    assert any(line[-3:] == ["train", "val", "test"] for line in words)
    counted = [line[-3:] for line in words if line[-3:] in (["700", "100", "200"], ["4,900", "700", "1,400"])]
    assert counted == [["700", "100", "200"]] * 7 + [["4,900", "700", "1,400"]]
    assert "…" not in done.stdout
    table = lines[1 : next(number for number, line in enumerate(lines) if line.startswith("sizes"))]
    assert max(map(len, table)) <= max(columns, 2 * 3 + 2 + 7 + 5 + 7 + 1)  # rich before 15 leaves a column empty
    assert "surprisefeardisgusthappinesssadnessangerneutral" in "".join(line.split()[0] for line in table)


def test_data_exit_codes(folder):
    (folder / "train/sad/broken.png").write_text("-")
    assert run("data", folder).returncode == 0
    strict = run("data", folder, "--on-error", "fail", "--json")
    assert strict.returncode == 1
    assert len(json.loads(strict.stdout)["unreadable"]) == 1
    for picture in folder.rglob("*.png"):
        picture.write_bytes(b"")
    none = run("data", folder, "--json")
    assert none.returncode == 1
    assert len(json.loads(none.stdout)["unreadable"]) == 4
    assert run("data", folder).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["data", "nowhere"], 2, "nothing at nowhere"),
        (["data", "."], 1, "not recognised"),
        (["data", "--format", "zip"], 2, "zip"),
        (["data", "drawn:7", "--side", "0"], 2, "side is 0"),
        (["data", "drawn:7", "--scales", "2"], 2, "--sheet"),
        (["data", "drawn:7", "--sheet", "a.png", "--scales", "0..3"], 2, "1..16"),
        (["data", "drawn:7", "--sheet", "no/a.png"], 1, "cannot be written"),
        (["data", "drawn:7", "--sheet", "a.doc"], 1, "cannot be written"),
        (["draw", "faces", "--count", "0"], 2, "--count"),
        (["pretrain", "--data", "nowhere"], 2, "nothing at"),
        (["pretrain", "--preset", "huge"], 2, "huge"),
        (["pretrain", "--data", "drawn:1"], 1, "held out"),
        (["extract", "--scales", "0..3"], 2, "1..16"),
        (["extract", "--jpeg", "0"], 2, "jpeg"),
        (["extract", "--data", "."], 1, "fsrcache pretrain --data"),
        (["extract", "--device", "tpu:9"], 2, "no device 'tpu:9'"),
        (["train"], 2, "There is no workspace at"),
        (["train", "--name", "../up"], 2, "no name for a run"),
        (["train", "--steps", "0"], 2, "--steps"),
        (["evaluate"], 2, "There is no workspace at"),
        (["baselines"], 2, "There is no workspace at"),
        (["dta"], 2, "dta"),
        ([], 2, ""),
    ],
)
def test_errors_are_words_without_a_traceback(tmp_path, arguments, code, words):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    if code and arguments[:1] == ["data"] and "--sheet" not in arguments:
        answer = run(*arguments, "--json", cwd=tmp_path)
        assert answer.returncode == code
        assert json.loads(answer.stdout)["exit_code"] == code


@pytest.mark.slow
def test_data_says_aloud_what_it_took_and_left_out(folder, tmp_path):
    (folder / "train/sad/.cache").mkdir()
    (folder / "train/sad/again").symlink_to(folder)
    for i in range(5):
        (folder / f"train/sad/{i}.txt").touch()
    shown = run("data", folder).stdout
    assert "left out: 1 (hidden folder: train/sad/.cache/)" in shown
    assert "left out: 1 (link to a folder that it lies in: train/sad/again/)" in shown
    assert (
        "left out: 5 (not a picture by its suffix: train/sad/0.txt, train/sad/1.txt, train/sad/2.txt and 2 more)"
        in (shown)
    )
    record = json.loads(run("data", folder, "--json").stdout)
    assert record["left_out_names"]["hidden folder"] == ["train/sad/.cache/"]
    wide = np.arange(100, dtype=np.uint16).reshape(10, 10) * 650
    Image.fromarray(wide).save(tmp_path / "wide.png")
    (tmp_path / "t.csv").write_text("Path;Label\nwide.png;happy\n")
    note = "no split column (columns: Path, Label): all 1 pictures are train"
    shown = run("data", tmp_path / "t.csv").stdout
    assert f"note: {note}" in shown
    assert "note: columns are separated by semicolons" in shown
    assert "converted: 1 (more than 8 bits, scaled to 8)" in shown
    record = json.loads(run("data", tmp_path / "t.csv", "--json").stdout)
    assert record["notes"] == ["columns are separated by semicolons", note]
    assert record["conversions"] == {"more than 8 bits, scaled to 8": 1}


def test_data_and_a_folder_named_drawn(tmp_path):
    assert run("draw", "drawn", "--count", "7", cwd=tmp_path).returncode == 0
    done = run("data", "drawn", cwd=tmp_path)
    assert done.returncode == 2
    assert "./drawn" in done.stderr
    assert "drawn:1400" in done.stderr
    assert "class folders" in run("data", "./drawn", cwd=tmp_path).stdout
    assert "drawn faces (built in)" in run("data", cwd=tmp_path).stdout


def test_draw_goes_on_where_it_stopped(tmp_path):
    assert run("draw", tmp_path / "a", "--count", "14").returncode == 0
    pictures = sorted((tmp_path / "a").rglob("*.png"))
    assert len(pictures) == 14
    before = {picture: picture.read_bytes() for picture in pictures}
    pictures[3].unlink()
    done = run("draw", tmp_path / "a", "--count", "14")
    assert "1 faces drawn, 13 were there" in done.stdout
    assert {picture: picture.read_bytes() for picture in pictures} == before
    (tmp_path / "file").touch()
    assert run("draw", tmp_path / "file").returncode == 2


@pytest.mark.parametrize(
    ("text", "scales"),
    [("2..8", [2, 3, 4, 5, 6, 7, 8]), ("2,4,8", [2, 4, 8]), ("1..3,16", [1, 2, 3, 16]), (" 5 ", [5])],
)
def test_scales(text, scales):
    assert parse_scales(None, None, text) == scales


@pytest.mark.parametrize("text", ["", "0", "17", "8..2", "4,2", "2,2", "2..4,4", "2.5", "x2", "-1", "1..", "²"])
def test_wrong_scales(text):
    import click

    with pytest.raises(click.BadParameter):
        parse_scales(None, None, text)
