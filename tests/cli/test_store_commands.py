"""The commands of the store: info and verify, as a user runs them."""

import json
import os
import subprocess
import sys

from studies.program import run

WITHOUT_TORCH = """
import sys
from fsrcache.cli import main
try:
    main(["info", sys.argv[1], "--json"])
finally:
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(sorted(loaded & {"torch", "zarr", "triton", "numpy", "rich", "PIL"}), file=sys.stderr)
"""


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
    sound = run("verify", "--workspace", tmp_path / "fsr", "--json")
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
    assert "degradation border replicate, form scale, jpeg none\n" in incomplete.stdout


def test_verify_prints_its_document_whatever_stands_there(tmp_path, example):
    example.written(tmp_path / "s")
    (tmp_path / "mine").write_text("mine")
    odd = {"train/x2/features/c/1/0": "link", ".writer-1-of-1": "link"}
    odd |= {"val/labels/c/0": "irregular", "more": "irregular"}
    for key, kind in odd.items():
        (tmp_path / "s" / key).unlink(missing_ok=True)
        if kind == "link":
            (tmp_path / "s" / key).symlink_to(tmp_path / "mine")
        else:
            os.mkfifo(tmp_path / "s" / key)
    for words in (("verify",), ("verify", "--repair")):
        done = run(*words, tmp_path / "s", "--json")
        assert done.returncode == 1
        assert {problem["key"]: problem["kind"] for problem in done.answer["problems"]} == odd
    assert (tmp_path / "mine").read_text() == "mine"
    done = run("verify", tmp_path / "s", "--json")
    assert {problem["kind"] for problem in done.answer["problems"]} == {"missing"}


def test_a_home_is_expanded_by_the_commands(tmp_path, example):
    example.written(tmp_path / "s")
    for command in ("info", "verify"):
        assert run(command, "~/s", "--json", HOME=str(tmp_path)).answer["complete"]
