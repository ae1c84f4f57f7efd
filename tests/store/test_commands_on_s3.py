"""The commands on object storage, as a user runs them: in parts at a time, interrupted, and never telling a secret."""

import signal

import pytest

from studies.program import Running, run

KEY, SECRET = "AKIARECOGNISABLE", "s3cr3t/Recognis+able"
FORMS = (KEY, SECRET, "s3cr3t%2FRecognis%2Bable")
COMMAND = ("extract", "--scales", "2,4", "--json")


def environment(address):
    return {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": address,
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "2",
    }  # fmt: skip


def assert_silent(*texts):
    for text in texts:
        assert not [form for form in FORMS if form in text]
        assert "Traceback" not in text


@pytest.mark.slow
def test_from_faces_to_a_generator(pretrained, s3_server, files, objects):
    """What two processes at one time write is the local store; all commands take its URL; no secret is in anything."""
    url, given = "s3://bucket/commands/features.zarr", {"cwd": pretrained, **environment(s3_server)}
    both = [Running(*COMMAND, "--store", url, "--part", f"{i}/2", **given) for i in (1, 2)]
    done = [process.wait() for process in both]
    assert [part.returncode for part in done] == [0, 0], done
    whole = run(*COMMAND, "--store", url, **given)  # both parts may have ended at one time
    assert whole.answer["complete"]
    assert whole.answer["resumed_from"] == sum(part.answer["blocks"] for part in done)
    assert run(*COMMAND, cwd=pretrained).returncode == 0
    assert objects(s3_server, url) == files(pretrained / "fsr/features.zarr")

    told = run("info", url, "--json", **given)
    assert told.answer["complete"]
    sound = run("verify", url, "--json", **given)
    assert sound.answer["ok"]
    trained = {
        name: run("train", "--store", place, "--steps", "20", "--name", name, "--cache", cache, "--json", **given)
        for name, place, cache in (("local", "fsr/features.zarr", "ram"), ("remote", url, "ram"), ("s", url, "stream"))
    }
    assert [each.answer["steps"] for each in trained.values()] == [20] * 3
    weights = [(pretrained / f"fsr/runs/{name}/generator.safetensors").read_bytes() for name in ("local", "remote")]
    assert weights[0] == weights[1]
    for ended in (*done, whole, told, sound, *trained.values()):
        assert_silent(ended.stdout, ended.stderr)
    kept = objects(s3_server, url) | files(pretrained)
    assert_silent(*(data.decode("latin-1") for data in kept.values()))


@pytest.mark.slow
def test_a_user_in_the_url_is_not_repeated(pretrained, s3_server, files):
    url = f"s3://{KEY}:{SECRET}@bucket/hidden/features.zarr"
    for words in ((*COMMAND, "--store", url), ("verify", url), ("info", url, "--json")):
        done = run(*words, cwd=pretrained, AWS_ENDPOINT_URL=s3_server)
        assert_silent(done.stdout, done.stderr)
    assert_silent(*(data.decode("latin-1") for data in files(pretrained).values()))


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["extracting", "completing"])
def test_interrupted_it_goes_on(pretrained, s3_server, phase):
    root = f"interrupted-{phase}/features.zarr"
    command = (*COMMAND, "--store", f"s3://bucket/{root}")
    process = Running(*command, cwd=pretrained, **environment(s3_server))
    assert process.until(phase)
    process.signal(signal.SIGINT)
    done = process.wait()
    assert (done.returncode, done.answer.get("error")) in ((130, "Interrupted."), (0, None)), done.stderr
    assert_silent(done.stdout, done.stderr)
    assert run(*command, cwd=pretrained, **environment(s3_server)).answer["complete"]
    assert run("verify", f"s3://bucket/{root}", cwd=pretrained, **environment(s3_server)).returncode == 0


@pytest.mark.slow
def test_a_server_that_refuses_harms_nothing(pretrained, proxy, objects):
    url, given = "s3://bucket/refused/features.zarr", {"cwd": pretrained, **environment(proxy.address)}
    assert run(*COMMAND, "--store", url, "--part", "1/2", **given).returncode == 0
    before = objects(proxy.server, url)
    proxy.plan = lambda request: 403 if request.method == "PUT" else None
    done = run(*COMMAND, "--store", url, **given)
    assert done.returncode == 1
    assert "Access Denied" in done.answer["error"]
    assert_silent(done.stdout, done.stderr)
    assert objects(proxy.server, url) == before
    proxy.plan = lambda _: None
    assert run(*COMMAND, "--store", url, **given).answer["complete"]
