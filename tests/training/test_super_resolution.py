"""Training super-resolvers: patches, tiles, quality against scikit-image, resuming bit for bit, and beating bicubic."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fsrcache.announce import FirstSeconds, Pace
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.degrade import SCALE_FORM, Degradation, coarse_pictures, low_resolution_view
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.super_resolution.forms import make_super_resolver
from fsrcache.models.super_resolution.presets import MetaSRConfig, RCANConfig, SuperResolutionConfig
from fsrcache.progress import no_progress
from fsrcache.training.run.restart import discard_runs
from fsrcache.training.super_resolution.enlarge import enlarge
from fsrcache.training.super_resolution.fit import fit_super_resolver
from fsrcache.training.super_resolution.patches import TrainingPictures, draw_patches, read_tiles
from fsrcache.training.super_resolution.quality import measurable, quality

RCAN = SuperResolutionConfig(
    network=RCANConfig(groups=1, blocks=2, features=16, reduction=4), steps=8, batch=4, learning_rate=2e-3
)
META_SR = replace(RCAN, network=MetaSRConfig(blocks=2, layers=2, growth=8, features=16, hidden=32))
TENTHS = tuple(Fraction(tenths, 10) for tenths in range(11, 41))


@pytest.fixture(scope="module")
def faces():
    """Return drawn faces, uint8 [140, 24, 24, C]."""
    drawn = usable_faces(list_faces(Path("drawn:140")), side=24)
    return drawn.batch(np.arange(140))


def fit(folder, pictures, config=RCAN, *, scales=(Fraction(2),), on_progress=no_progress, **options):
    """Return the trained network and the result."""
    scale = int(scales[0]) if isinstance(config.network, RCANConfig) else None
    network = make_super_resolver(config.network, channels=pictures.shape[3], scale=scale)
    network = network.to(memory_format=torch.channels_last)
    result = fit_super_resolver(
        network, TrainingPictures(pictures, "digest"), config, scales=scales, degradation=SCALE_FORM, folder=folder,
        settings={}, seed=1, on_progress=on_progress, **options,
    )  # fmt: skip
    return network, result


def test_patches_are_cut_turned_and_made_coarse(faces):
    random = np.random.default_rng(0)
    config = replace(RCAN, batch=200, patch=6)
    small, large = draw_patches(faces[:1], config, Fraction(3, 2), degradation=Degradation(jpeg=80), random=random)
    assert (small.shape[1:3], large.shape[1:3]) == ((6, 6), (9, 9))
    np.testing.assert_array_equal(small, coarse_pictures(large, 1.5, Degradation(jpeg=80)))
    whole, same = draw_patches(faces[:1], config, Fraction(8), degradation=SCALE_FORM, random=random)
    assert (whole.shape[1], same.shape[1]) == (3, 24)
    views = {one.tobytes() for one in same}
    assert views == {
        np.rot90(faces[0][:, ::mirror], turn).tobytes() for mirror in (1, -1) for turn in range(4)
    }  # fmt: skip


def test_a_folder_is_cut_into_tiles(tmp_path):
    random = np.random.default_rng(0)
    colours, grey = random.integers(0, 256, (21, 37, 3), np.uint8), random.integers(0, 256, (10, 10), np.uint8)
    (tmp_path / "below").mkdir()
    Image.fromarray(colours).save(tmp_path / "below/b.png")
    Image.fromarray(grey).save(tmp_path / "c.png")
    Image.fromarray(grey[:9]).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    tiles = read_tiles(tmp_path, side=10, channels=3, on_progress=no_progress)
    assert tiles.pictures.shape == (2 * 3 + 1, 10, 10, 3)
    np.testing.assert_array_equal(tiles.pictures[4], colours[10:20, 10:20])
    np.testing.assert_array_equal(tiles.pictures[6], np.stack([grey] * 3, -1))
    in_grey = read_tiles(tmp_path, side=10, channels=1, on_progress=no_progress)
    luma = np.asarray(Image.fromarray(colours).convert("L"))
    np.testing.assert_array_equal(in_grey.pictures[4, ..., 0], luma[10:20, 10:20])
    assert in_grey.digest != tiles.digest
    with pytest.raises(RequestError, match="no picture of 50 x 50 pixels or more"):
        read_tiles(tmp_path, side=50, channels=1, on_progress=no_progress)
    (tmp_path / "d.png").write_bytes(b"x")
    with pytest.raises(FsrcacheError, match=r"d\.png cannot be used"):
        read_tiles(tmp_path, side=10, channels=1, on_progress=no_progress)


@pytest.mark.parametrize(("form", "exact"), [("scale", Fraction(5)), ("size", Fraction(24, 5))])
def test_the_size_form_has_a_scale_of_its_own(faces, form, exact):
    class Nearest(torch.nn.Linear):
        def forward(self, small, scale, side):
            assert scale == exact
            rows = [int(row / scale) for row in range(side)]
            return small[:, :, rows][..., rows] + 0.6

    small = coarse_pictures(faces[:20], 5, Degradation(form=form))
    small[0] = 100
    small[1] = 255
    enlarged = enlarge(Nearest(1, 1), small, 5, 24, Degradation(form=form))
    assert (enlarged.shape, enlarged.dtype) == (faces[:20].shape, np.uint8)
    assert (enlarged[0] == 101).all()
    assert (enlarged[1] == 255).all()
    np.testing.assert_array_equal(enlarged[2:, 23, 23], small[2:, 4, 4] + 1)


@pytest.mark.parametrize("border", [0, 4])
def test_quality_is_scikit_images(faces, border):
    originals = faces[:5, ..., :1]
    pictures = low_resolution_view(originals, 3)
    inside = slice(border, 24 - border)
    pairs = [(one[inside, inside, 0], other[inside, inside, 0]) for one, other in zip(pictures, originals, strict=True)]
    similar, crop = [], slice(5, -5)
    for one, other in pairs:
        _, values = structural_similarity(
            other, one, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        similar.append(values[crop, crop].mean())
    measured = quality(pictures, originals, border=border)
    assert measured.ssim == pytest.approx(np.mean(similar), abs=1e-9)
    psnr = [peak_signal_noise_ratio(other, one, data_range=255) for one, other in pairs]
    assert measured.psnr == pytest.approx(np.mean(psnr), abs=1e-9)
    assert quality(originals, originals, border=0).psnr == pytest.approx(100)
    assert (measurable(27, 8), measurable(26, 8)) == (True, False)


def test_colours_are_measured_on_matlabs_y():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    y = np.array([16, 235, 81, 145, 41], np.uint8)  # of MATLAB's rgb2ycbcr
    columns = np.repeat(colours[None, None], 16, 1).repeat(4, 2)  # [1, 16, 20, 3]
    as_y = np.repeat(y[None, None], 16, 1).repeat(4, 2)[..., None]
    black, dark = np.zeros_like(columns), np.full_like(as_y, 16)
    assert quality(columns, black, border=0) == quality(as_y, dark, border=0)


@pytest.mark.parametrize(("config", "scales"), [(RCAN, (Fraction(2),)), (META_SR, TENTHS)])
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path, faces, config, scales, stop_after, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    whole, once = fit(tmp_path / "whole", faces, config, scales=scales)
    with pytest.raises(KeyboardInterrupt):
        fit(
            tmp_path / "parts", faces, config, scales=scales, checkpoint_seconds=0.0,
            on_progress=stop_after("training", 5),
        )  # fmt: skip
    parts, rest = fit(tmp_path / "parts", faces, config, scales=scales)
    assert (once.resumed_from, rest.resumed_from) == (0, 4)
    assert rest.history == once.history
    assert rest.record == once.record
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    _, again = fit(tmp_path / "parts", faces, config, scales=scales)
    assert again.resumed_from == 8
    with pytest.raises(FsrcacheError, match=r"config\.batch is 4 there and 5 here|batch is 4 there and 5 here"):
        fit(tmp_path / "parts", faces, replace(config, batch=5), scales=scales)
    discard_runs(tmp_path / "parts")
    assert fit(tmp_path / "parts", faces, replace(config, batch=5), scales=scales)[1].resumed_from == 0


def test_another_number_of_threads_is_refused_or_noted(tmp_path, faces, stop_after, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, faces, checkpoint_seconds=0.0, on_progress=stop_after("training", 3))
    before = torch.get_num_threads()
    monkeypatch.setattr("fsrcache.training.super_resolution.fit.torch_threads", lambda _: before + 1)
    with pytest.raises(FsrcacheError, match="another number of threads"):
        fit(tmp_path, faces)
    notes = []
    _, result = fit(tmp_path, faces, other_threads=True, on_progress=lambda one: notes.append(one.note))
    assert any("goes on under another number of threads" in note for note in notes)
    assert (result.record["threads"], result.record["earlier_threads"]) == (before + 1, (before,))


def test_it_says_how_long_it_takes(tmp_path, faces, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    monkeypatch.setattr(FirstSeconds, "measured", lambda _, steps: Pace(2, 100.0) if steps == 3 else None)
    notes = []
    fit(tmp_path, faces, on_progress=lambda one: notes.append(one.note))
    (note,) = filter(None, notes)
    assert note.startswith("About 8 min 20 s for 8 steps on cpu (")
    assert note.endswith("by the first 2 steps.")


def test_a_training_that_leaves_the_numbers_ends_with_an_error(tmp_path, faces):
    with pytest.raises(FsrcacheError, match="stopped being finite before step"):
        fit(tmp_path, faces, replace(RCAN, learning_rate=1e30))


@pytest.mark.slow
@pytest.mark.parametrize("config", [RCAN, META_SR], ids=["rcan", "meta-sr"])
def test_a_short_training_beats_bicubic(tmp_path, faces, config):
    config = replace(config, steps=400, batch=8, learning_rate=5e-3)
    network, result = fit(tmp_path, faces[:100], config)
    unseen = faces[100:]
    enlarged = enlarge(network, coarse_pictures(unseen, 2), 2, 24, SCALE_FORM)
    ours, bicubic = (quality(one, unseen, border=2) for one in (enlarged, low_resolution_view(unseen, 2)))
    assert ours.psnr > bicubic.psnr + 0.5
    assert ours.ssim > bicubic.ssim
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 2
