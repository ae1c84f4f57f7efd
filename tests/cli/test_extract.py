"""``fsrcache extract`` as a user runs it: in parts, planned, interrupted."""

import signal

import pytest
from click.testing import CliRunner

from fsrcache.cli.extract import extract
from studies.program import Running, run

COMMAND = ("extract", "--scales", "2,4", "--json")


@pytest.fixture(scope="session")
def undisturbed(pretrained_once, tmp_path_factory, files):
    """The files of the store that an extraction writes which nobody disturbs."""
    store = tmp_path_factory.mktemp("undisturbed") / "features.zarr"
    assert run(*COMMAND, "--store", store, cwd=pretrained_once).answer["complete"]
    return files(store)


@pytest.mark.slow
def test_parts_and_a_dry_run(pretrained, undisturbed, files):
    store = pretrained / "fsr/features.zarr"
    planned = run(*COMMAND, "--dry-run", cwd=pretrained).answer
    assert not store.exists()
    assert planned["missing"] == planned["blocks"]
    half = run(*COMMAND, "--part", "2/2", "--dry-run", cwd=pretrained).answer
    first = run(*COMMAND, "--part", "2/2", cwd=pretrained).answer
    assert not first["complete"]
    assert half["missing"] == first["blocks"]
    remaining = run(*COMMAND, "--dry-run", cwd=pretrained).answer
    assert remaining["missing"] == planned["blocks"] - first["blocks"]
    assert remaining["pictures"] + half["pictures"] == planned["pictures"]
    assert run("train", cwd=pretrained).returncode == 1
    second = run(*COMMAND, cwd=pretrained, RANK="0", WORLD_SIZE="2").answer  # as torchrun does
    assert second["complete"]
    assert first["blocks"] + second["blocks"] == planned["blocks"]
    store_record = run("info", "--json", cwd=pretrained).answer
    assert (store_record["objects"], store_record["blocks"]) == (planned["objects"], planned["blocks"])
    ids = sum(path.stat().st_size for path in store.rglob("ids/c/0"))
    assert 0 <= store_record["bytes"] + ids - planned["bytes"] < 100  # counts and checksums of texts
    assert run("verify", cwd=pretrained).returncode == 0
    assert files(store) == undisturbed


@pytest.mark.slow
def test_a_store_elsewhere_of_other_data_changes_nothing_in_the_workspace(pretrained):
    before = (pretrained / "fsr/data.json").read_bytes()
    other = ("--data", "drawn:16", "--store", "elsewhere.zarr")
    assert run(*COMMAND, *other, cwd=pretrained).answer["complete"]
    assert (pretrained / "fsr/data.json").read_bytes() == before
    assert not (pretrained / "fsr/features.zarr").exists()


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["reading", "extracting", "completing"])
def test_interrupted_in_every_phase_it_goes_on(pretrained, undisturbed, files, phase):
    process = Running(*COMMAND, cwd=pretrained)
    assert process.until(phase)
    process.signal(signal.SIGINT)
    done = process.wait()
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.answer.get("error")) in ((130, "Interrupted."), (0, None))  # it may have been through
    if phase == "reading":
        assert done.returncode == 130
    again = run(*COMMAND, cwd=pretrained).answer
    assert again["complete"]
    assert (again["resumed_from"] > 0) == (phase == "completing") or phase == "extracting"
    assert files(pretrained / "fsr/features.zarr") == undisturbed


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_part_that_is_none_is_a_wrong_request(tmp_path, part):
    done = run("extract", "--part", part, cwd=tmp_path)
    assert done.returncode == 2
    assert "write 1/4 to 4/4 for four writers" in done.stderr


@pytest.mark.parametrize(
    ("rank", "ranks"),
    [("zero", "2"), ("-1", "2"), ("2", "2"), ("0", "0"), ("0", ""), ("", "2"), (str(2**70), str(2**71)), ("٠", "2")],
)
def test_ranks_that_are_none_are_a_wrong_request(monkeypatch, tmp_path, rank, ranks):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", ranks)
    done = CliRunner().invoke(extract, ["--workspace", str(tmp_path / "none")])
    assert done.exit_code == 2
    assert "RANK is" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "first", "preset"),
    [
        (("--limit", 60), "extraction pre-trains one first", "tiny"),
        (("--limit", 60, "--part", "1/2"), "pre-train one first, or name one", "tiny"),
        (("--data", "faces", "--limit", 60), "pre-train one first, or name one", "medium"),
    ],
)
def test_a_dry_run_in_an_empty_folder_answers(tmp_path, options, first, preset):
    assert run("draw", "faces", "--count", 140, cwd=tmp_path).returncode == 0
    before = sorted(tmp_path.iterdir())
    planned = run(*COMMAND, "--dry-run", "--device", "cpu", *options, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    said = f"There is no extractor in {tmp_path / 'fsr'} yet: {first}; the figures are those of the preset {preset}."
    assert said in planned.stderr
    assert planned.answer["preset"] == preset
    assert planned.answer["pretraining_seconds"] > 0
    assert planned.answer["rows"]["train"] == 60
    assert planned.answer["bytes"] > 0
    assert sorted(tmp_path.iterdir()) == before
