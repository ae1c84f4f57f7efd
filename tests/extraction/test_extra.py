"""The splits that only trainings read, extracted: what their rows hold, and what is left as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from fsrcache.errors import FsrcacheError
from fsrcache.extraction.extract import estimate_extraction, extract_features
from fsrcache.extraction.features import features_of
from fsrcache.extraction.on_ray import RayCluster
from fsrcache.extraction.source import face_source, store_spec
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.views import view_of_face
from fsrcache.presets import ExtractorConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.store.writer import FeatureWriter

SHAPE = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:70")), side=24)


@pytest.fixture(scope="module")
def others():
    """Faces of which the first 70 are the labelled ones."""
    return usable_faces(list_faces(Path("drawn:91")), side=24)


@pytest.fixture(scope="module")
def extractor(faces, tmp_path_factory):
    path = tmp_path_factory.mktemp("extractor") / "extractor"
    save_covpool(path, CovPoolFER(SHAPE, faces.classes).eval(), training={})
    return path


def extract(faces, extractor, store, **extra):
    source = face_source(faces, extractor, device=CPU, **extra)
    return extract_features(source, store=store, scales=[2, 4], data="drawn faces")


@pytest.fixture(scope="module")
def store(faces, others, extractor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "s"
    extract(faces, extractor, folder, views=2, unlabelled=others)
    return FeatureStore(folder)


def test_colours_become_luma_beside_grey_faces(faces, others, extractor, tmp_path):
    for place, source, mode in (("grey", faces, "L"), ("colour", others, "RGB")):
        for row in range(0, 70, 2) if mode == "L" else range(70, 91):
            file = tmp_path / place / "train" / faces.classes[source.labels[row]] / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(source.batch(np.array([row]))[0]).convert(mode).save(file)
    grey, colour = (usable_faces(list_faces(tmp_path / place), side=24) for place in ("grey", "colour"))
    assert (grey.grey, colour.grey) == (True, False)
    extract(grey, extractor, tmp_path / "s", unlabelled=colour)
    store = FeatureStore(tmp_path / "s")
    row = list(colour.names).index(store.ids("unlabelled")[2])
    picture = Image.fromarray(colour.batch(np.array([row]))[0])
    seen, wrong = (np.asarray(picture.convert(mode).convert("RGB"))[None] for mode in ("L", "RGB"))
    stored = store.features("unlabelled", 2)[2]
    model = open_extractor(extractor)
    np.testing.assert_allclose(stored, features_of(model, seen, scale=2).features[0], rtol=1e-3, atol=4e-3)
    assert np.abs(stored - features_of(model, wrong, scale=2).features[0]).max() > 0.05
    in_colour = face_source(colour, extractor, device=CPU, unlabelled=grey)  # grey ones beside colours stay as they are
    assert not in_colour.extra["unlabelled"].grey


def test_rows_are_those_of_the_views_of_trains_faces(faces, extractor, store):
    model, names = open_extractor(extractor), {name: row for row, name in enumerate(faces.names)}
    for number in (1, 2):
        split = f"view-{number}"
        assert store.ids(split).tolist() == store.ids("train").tolist()
        assert np.array_equal(store.held_out(split), store.held_out())
        assert np.array_equal(store.labels(split), store.labels("train"))
        face = names[store.ids(split)[3]]
        view = view_of_face(faces.batch(np.array([face]))[0], number=number, picture_hash=faces.hashes[face])
        for scale in (1, 4):
            answer = features_of(model, np.ascontiguousarray(view)[None], scale=scale)
            np.testing.assert_allclose(store.features(split, scale)[3], answer.features[0], rtol=1e-3, atol=2e-3)


def test_faces_without_labels_are_those_that_have_none_elsewhere(others, extractor, store):
    assert store.spec.count("unlabelled") == 21
    assert set(store.ids("unlabelled").tolist()) == set(others.names[70:].tolist())
    model, names = open_extractor(extractor), {name: row for row, name in enumerate(others.names)}
    face = names[store.ids("unlabelled")[2]]
    answer = features_of(model, others.batch(np.array([face])), scale=2)
    np.testing.assert_allclose(store.features("unlabelled", 2)[2], answer.features[0], rtol=1e-3, atol=2e-3)


def test_added_later_they_change_no_other_byte(faces, others, extractor, store, files, tmp_path):
    extract(faces, extractor, tmp_path / "s")
    before = files(tmp_path / "s")
    extract(faces, extractor, tmp_path / "s", views=1)
    result = extract(faces, extractor, tmp_path / "s", views=2, unlabelled=others)
    assert result.rows == {"train": 49, "val": 7, "test": 14, "view-1": 49, "view-2": 49, "unlabelled": 21}
    after = files(tmp_path / "s")
    assert {name for name in before if before[name] != after[name]} == {"zarr.json"}
    assert FeatureStore(tmp_path / "s").digest == store.digest


def test_an_estimate_counts_what_is_missing(faces, others, extractor, tmp_path):
    extract(faces, extractor, tmp_path / "s", views=1)
    source = face_source(faces, extractor, device=CPU, views=2, unlabelled=others)
    estimate = estimate_extraction(source, store=tmp_path / "s", scales=[2, 4])
    assert (estimate.pictures, estimate.missing) == (3 * (49 + 21), 6)
    written = extract_features(source, store=tmp_path / "s", scales=[2, 4], data="drawn faces")
    assert estimate.rows == written.rows
    assert estimate.objects == sum(path.is_file() for path in (tmp_path / "s").rglob("*"))
    assert estimate.bytes == pytest.approx(
        sum(path.stat().st_size for path in (tmp_path / "s").glob("*/**/c/**/*") if path.is_file()), rel=0.01
    )


def test_faces_that_are_all_labelled_are_refused(faces, extractor):
    with pytest.raises(FsrcacheError, match="All 70 faces without labels are among the labelled ones"):
        face_source(faces, extractor, device=CPU, unlabelled=faces)
    with pytest.raises(FsrcacheError, match="have 20 pixels a side, the others 24"):
        face_source(replace(faces, side=24), extractor, device=CPU, unlabelled=replace(faces, side=20))


def test_content_is_that_of_a_store_without_them(faces, others, extractor):
    with_extra = face_source(faces, extractor, device=CPU, views=3, unlabelled=others)
    specs = [
        store_spec(source, scales=[2], data="") for source in (with_extra, face_source(faces, extractor, device=CPU))
    ]
    assert specs[0].content_digests == specs[1].content_digests
    assert [*specs[0].extra] == ["view-1", "view-2", "view-3", "unlabelled"]


def test_what_was_begun_of_other_faces_is_removed_with_a_note(faces, others, extractor, tmp_path):
    extract(faces, extractor, tmp_path / "s")
    source = face_source(faces, extractor, device=CPU, unlabelled=others)
    FeatureWriter(tmp_path / "s", store_spec(source, scales=[2, 4], data=""), **source.columns()).close()
    grown = usable_faces(list_faces(Path("drawn:98")), side=24)
    source, notes = face_source(faces, extractor, device=CPU, unlabelled=grown), []
    extract_features(
        source, store=tmp_path / "s", scales=[2, 4], data="", on_progress=lambda one: notes.append(one.note)
    )
    assert "Removed: what an interrupted extraction of other faces had written of unlabelled." in notes
    assert FeatureStore(tmp_path / "s").spec.count("unlabelled") == 28


@pytest.mark.slow
def test_ray_and_parts_write_the_same_bytes(faces, others, extractor, store, files, tmp_path):
    source = face_source(faces, extractor, device=CPU, views=2, unlabelled=others)
    options = {"scales": [2, 4], "data": "drawn faces"}
    for part in ((1, 2), (2, 2)):
        extract_features(source, store=tmp_path / "parts", part=part, **options)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        assert extract_features(source, store=tmp_path / "ray", cluster=RayCluster(), **options).complete
    finally:
        ray.shutdown()
    assert files(tmp_path / "parts") == files(tmp_path / "ray") == files(Path(store.name))
