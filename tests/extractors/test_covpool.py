"""The extractor: published shape, orthonormal map, finite on a constant picture, files equal byte for byte."""

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import CovPoolFER, load_covpool, save_covpool, whiten
from fsrcache.models import weights
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.presets import EXTRACTORS, ExtractorConfig

CLASSES = ("happiness", "sadness", "anger")
MICRO = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=4, hidden=12, embedding=5)


def pictures(count=4, side=16):
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_papers_model_has_the_published_layers():
    model = CovPoolFER(EXTRACTORS["paper"], ("a", "b", "c", "d", "e", "f", "g"))
    convolutions = [tuple(layer.weight.shape[:2]) for layer in model.trunk if isinstance(layer, torch.nn.Conv2d)]
    assert convolutions == [(64, 3), (96, 64), (128, 96), (128, 128), (256, 128), (256, 256)]
    assert sum(isinstance(layer, torch.nn.MaxPool2d) for layer in model.trunk) == 3
    assert model.pool.bimap.weight.shape == (128, 256)
    model.eval()
    with torch.inference_mode():
        maps = model.trunk(whiten(pictures(1, 100)))
        taps = model(pictures(1, 100))
    assert maps.shape == (1, 256, 12, 12)
    assert [tap.shape[1] for tap in taps] == [128 * 129 // 2, 128, 7, 9 * 128]
    assert [layer.out_features for layer in model.head.embed if isinstance(layer, torch.nn.Linear)] == [2000, 128]


def test_a_constant_picture_gives_a_finite_feature():
    model = CovPoolFER(MICRO, CLASSES).eval()
    for tap in model(torch.full((2, 1, 16, 16), 255, dtype=torch.uint8)):
        assert tap.isfinite().all()


def test_early_features_are_means_of_the_maps_in_front_of_the_last_stage():
    model = CovPoolFER(ExtractorConfig(side=36, stages=((4,), (5, 6), (8, 8)), spd_side=4), CLASSES).eval()
    with torch.inference_mode():
        early = model(pictures(2, 36)).early
        maps = model.trunk[: model.last_stage](whiten(pictures(2, 36)))
    assert maps.shape == (2, 6, 9, 9)
    assert isinstance(model.trunk[model.last_stage - 1], torch.nn.ReLU)
    by_hand = maps.unflatten(2, (3, 3)).unflatten(4, (3, 3)).mean((3, 5)).flatten(1)
    torch.testing.assert_close(early, by_hand)
    assert model.early == early.shape[1] == 54
    assert model.train()(pictures(2, 36)).early is None


def test_no_picture_gives_no_feature():
    with torch.inference_mode():
        taps = CovPoolFER(MICRO, CLASSES).eval()(torch.zeros(0, 1, 16, 16, dtype=torch.uint8))
    assert [list(tap.shape) for tap in taps] == [[0, 10], [0, 5], [0, 3], [0, 9 * 6]]


def test_the_logarithm_is_that_of_float64_in_evaluation_mode():
    model = CovPoolFER(ExtractorConfig(side=48, stages=((16,), (64,)), spd_side=64), CLASSES).eval()
    with torch.inference_mode():
        covariance = model.pool(model.trunk(whiten(pictures(8, 48)))).double()
        logarithm = model.log_covariance(pictures(8, 48))
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    assert logarithm.dtype == torch.float32
    torch.testing.assert_close(logarithm.double(), vectors * eigenvalues.log()[:, None] @ vectors.mT, rtol=0, atol=1e-6)


def test_whitening():
    white = whiten(pictures())
    assert white.shape == (4, 3, 16, 16)
    torch.testing.assert_close(white.mean(dim=(1, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(white.std(dim=(1, 2, 3), correction=0), torch.ones(4))
    assert not whiten(torch.full((2, 3, 100, 100), 251, dtype=torch.uint8)).any()
    with pytest.raises(FsrcacheError, match=r"\[2, 4, 16, 16\]"):
        whiten(torch.zeros(2, 4, 16, 16))


def test_grey_and_its_three_equal_channels_are_the_same_picture():
    model = CovPoolFER(MICRO, CLASSES).eval()
    torch.testing.assert_close(model(pictures()).logits, model(pictures().expand(-1, 3, -1, -1)).logits)


def test_files_have_the_same_bytes_and_give_the_model_back(tmp_path):
    model = CovPoolFER(MICRO, CLASSES, generator=torch.Generator().manual_seed(5)).eval()
    for name in ("a", "b"):
        save_covpool(tmp_path / name, model, training={"epochs": 3, "seed": 1, "accuracy": {"val": 50.0}})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = load_covpool(tmp_path / "a")
    assert again.classes == CLASSES
    assert again.config == MICRO
    for one, other in zip(model(pictures()), again(pictures()), strict=True):
        assert torch.equal(one, other)


def test_files_that_are_not_extractors_are_refused(tmp_path):
    with pytest.raises(FsrcacheError, match="There is no extractor at"):
        load_covpool(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FsrcacheError, match="cannot be read"):
        load_covpool(tmp_path / "text")
    write_weights(tmp_path / "other", {"x": torch.zeros(2)}, kind="generator", record={})
    with pytest.raises(FsrcacheError, match="of the kind 'generator'"):
        load_covpool(tmp_path / "other")
    write_weights(tmp_path / "empty", {"x": torch.zeros(2)}, kind="extractor", record={})
    with pytest.raises(FsrcacheError, match="empty: classes is missing"):
        load_covpool(tmp_path / "empty")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_weights(tmp_path / "w", {"x": torch.ones(2)}, kind="test", record={"n": 1})
    with pytest.raises(FsrcacheError, match="cannot be written"):
        write_weights(tmp_path / "w" / "below", {"x": torch.zeros(2)}, kind="test", record={})
    tensors, record = read_weights(tmp_path / "w", kind="test")
    assert torch.equal(tensors["x"], torch.ones(2))
    assert record == {"n": 1}


def test_a_file_that_goes_away_while_it_is_opened_is_said(tmp_path, monkeypatch):
    write_weights(tmp_path / "w", {"x": torch.ones(2)}, kind="test", record={})

    def opened(path, **_):  # as safetensors does it: torch maps the file by its name, a second time
        path.unlink()
        return torch.UntypedStorage.from_file(str(path), shared=False, nbytes=8)

    monkeypatch.setattr(weights, "safe_open", opened)
    with pytest.raises(FsrcacheError, match="cannot be read"):
        read_weights(tmp_path / "w", kind="test")


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(FsrcacheError, match="side is 9"):
        CovPoolFER(ExtractorConfig(side=16, stages=((8,),), spd_side=9), CLASSES)
    with pytest.raises(FsrcacheError, match="nothing left"):
        CovPoolFER(ExtractorConfig(side=1, stages=((8,), (8,)), spd_side=4), CLASSES)
