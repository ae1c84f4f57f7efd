"""``model.safetensors``: what is read answers as what was written, and nothing else is taken for one."""

import numpy as np
import pytest
from safetensors.torch import save_file

import fsrcache
from fsrcache.deployment.weights import WEIGHTS, write_exported
from fsrcache.errors import FsrcacheError, RequestError


@pytest.mark.parametrize("form", ["mlp", "rrdb", "mlp without early features"])
def test_a_folder_answers_as_the_workspace(form, networks, model_of, drawn, tmp_path):
    exported = networks(form, channels=1)
    write_exported(tmp_path / WEIGHTS, exported)
    model, expected = fsrcache.load(tmp_path), model_of(exported)
    for size in ((12, 12), (48, 48), (60, 50)):
        answers, others = model(drawn(size, 8)), expected(drawn(size, 8))
        assert np.array_equal(answers.probabilities, others.probabilities)
        assert np.array_equal(answers.scales, others.scales)
    for name in ("classes", "scales", "degradation", "channels", "run", "training"):
        assert getattr(model, name) == getattr(expected, name), name
    assert (model.extractor.digest, model.extractor.summary) == (exported.extractor.digest, exported.extractor.summary)
    assert str(tmp_path) in repr(model)


def test_its_bytes_depend_on_the_model_alone(networks, tmp_path):
    for name in ("one", "other"):
        write_exported(tmp_path / name / WEIGHTS, networks())
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "other" / WEIGHTS).read_bytes()


def test_another_run_is_refused(networks, tmp_path):
    write_exported(tmp_path / WEIGHTS, networks()._replace(run="best"))
    assert fsrcache.load(tmp_path).run == "best"
    assert fsrcache.load(tmp_path, "best").run == "best"
    with pytest.raises(RequestError, match="has no run 'other'"):
        fsrcache.load(tmp_path, "other")


def test_a_file_of_others_and_a_damaged_one_are_refused(networks, tmp_path):
    exported = networks()
    write_exported(tmp_path / "whole" / WEIGHTS, exported)
    content = (tmp_path / "whole" / WEIGHTS).read_bytes()
    for name in ("damaged", "others"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(FsrcacheError, match=WEIGHTS):
        fsrcache.load(tmp_path / "damaged")
    save_file(exported.generator.state_dict(), tmp_path / "others" / WEIGHTS)
    with pytest.raises(FsrcacheError, match="fsrcache did not write"):
        fsrcache.load(tmp_path / "others")
