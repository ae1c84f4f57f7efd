"""The commands of the store: info, verify, extract --part and --dry-run, as a user runs them."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = [sys.executable, "-c", "from fsrcache.cli import main; main()"]
WITHOUT_TORCH = """
import sys
from fsrcache.cli import main
try:
    main(["info", sys.argv[1], "--json"])
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(sorted(loaded & {"torch", "zarr", "triton", "numpy", "rich", "PIL"}), file=sys.stderr)
"""


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_info_reads_the_metadata_alone(tmp_path, example):
    example.written(tmp_path / "s")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, tmp_path / "s"], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    record = json.loads(done.stdout)
    assert record["complete"]
    assert record["rows"] == {"train": 23, "val": 5}
    assert record["scales"] == [1, 2]
    assert record["arrays"]["val/x2/features"] == {"shape": [5, 6], "dtype": "float16"}
    found = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert record["objects"] == len(found)
    shards = sum(path.stat().st_size for path in found if path.name != "zarr.json" and "ids" not in path.parts)
    assert record["bytes"] == shards


def test_info_of_what_is_no_store(tmp_path):
    done = run("info", "nowhere", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "There is no feature store at nowhere."


def test_verify_says_what_is_wrong_and_mends_it(tmp_path, example):
    example.written(tmp_path / "fsr/features.zarr")
    sound = run("verify", "--json", cwd=tmp_path)
    assert sound.returncode == 0
    assert json.loads(sound.stdout)["ok"] is True
    key = "train/x2/features/c/1/0"
    (tmp_path / "fsr/features.zarr" / key).write_bytes(b"")
    broken = run("verify", "fsr/features.zarr", "--json", cwd=tmp_path)
    assert broken.returncode == 1
    record = json.loads(broken.stdout)
    assert record["ok"] is False
    assert record["problems"] == [{"array": "train/x2/features", "key": key, "kind": "short"}]
    shown = run("verify", "--repair", cwd=tmp_path)
    assert shown.returncode == 1
    assert f"short        {key}" in shown.stdout
    assert not (tmp_path / "fsr/features.zarr" / key).exists()
    incomplete = run("info", cwd=tmp_path)
    assert "incomplete: 29 of 30 files" in incomplete.stdout


@pytest.mark.slow
def test_parts_and_a_dry_run(tmp_path):
    words = ("--data", "drawn:140", "--side", 24, "--epochs", 1)
    assert run("pretrain", *words, cwd=tmp_path).returncode == 0
    planned = json.loads(run("extract", "--scales", "2,4", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert not (tmp_path / "fsr/features.zarr").exists()
    first = json.loads(run("extract", "--scales", "2,4", "--part", "2/2", "--json", cwd=tmp_path).stdout)
    assert not first["complete"]
    assert run("train", cwd=tmp_path).returncode == 1
    ranks = run("extract", "--scales", "2,4", "--json", cwd=tmp_path, RANK="0", WORLD_SIZE="2")  # as torchrun does
    second = json.loads(ranks.stdout)
    assert second["complete"]
    assert first["blocks"] + second["blocks"] == planned["blocks"]
    told = json.loads(run("info", "--json", cwd=tmp_path).stdout)
    assert (told["objects"], told["blocks"]) == (planned["objects"], planned["blocks"])
    ids = sum(path.stat().st_size for path in (tmp_path / "fsr/features.zarr").rglob("ids/c/0"))
    assert 0 <= told["bytes"] + ids - planned["bytes"] < 100  # counts and checksums of texts
    assert run("verify", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_that_is_none_is_a_wrong_request(tmp_path, part):
    done = run("extract", "--part", part, cwd=tmp_path)
    assert done.returncode == 2
    assert "write 1/4 to 4/4 for four writers" in done.stderr
