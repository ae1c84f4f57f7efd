"""Extraction into a store: what a row holds, resumed, on any number of threads, and wherever the pictures lie."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsrcache.errors import FsrcacheError
from fsrcache.extraction import batches
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.features import features_of
from fsrcache.extraction.source import FaceSource, face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.identity import BATCH
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.store.verify import verify

SHAPE = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)


def extract(faces, extractor, *, degradation=SCALE_FORM, **arguments):
    source = face_source(faces, extractor, device=torch.device("cpu"), degradation=degradation)
    return extract_features(source, **arguments)


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:280")), side=24)


@pytest.fixture(scope="module")
def workspace(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    save_covpool(folder / "extractor", CovPoolFER(SHAPE, faces.classes).eval(), training={})
    extract(faces, folder / "extractor", store=folder / "store", scales=[2, 4], data="drawn faces")
    return folder


@pytest.fixture(scope="module")
def store(workspace):
    return FeatureStore(workspace / "store")


def test_a_row_of_the_store_is_the_extractors_answer(faces, workspace, store):
    model = open_extractor(workspace / "extractor")
    names = {name: row for row, name in enumerate(faces.names)}
    for row in (0, 5):
        face = names[store.ids("val")[row]]
        for scale in (1, 2, 4):
            answer = features_of(model, faces.batch(np.array([face])), scale=scale)
            # half precision, and a batch of one adds up in another order
            np.testing.assert_allclose(store.features("val", scale)[row], answer.features[0], rtol=1e-3, atol=2e-3)
            np.testing.assert_allclose(store.probabilities("val", scale)[row], answer.probabilities[0], atol=1e-4)
        assert store.labels("val")[row] == faces.labels[face]
    assert (store.features("val", 4)[:] != store.features("val", 1)[:]).any()
    assert 0 < store.held_out().sum() < 0.3 * len(store.labels("train"))


def test_an_extraction_goes_on_where_it_stopped(faces, workspace, store, tmp_path, stop_after):
    arguments = {"store": tmp_path / "s", "data": "drawn faces"}
    with pytest.raises(KeyboardInterrupt):
        extract(faces, workspace / "extractor", scales=[2, 4], on_progress=stop_after("extracting", 500), **arguments)
    result = extract(faces, workspace / "extractor", scales=[2, 4], **arguments)
    assert 0 < result.resumed_from < result.blocks
    assert result.digest == store.digest
    for split in store.splits:
        for scale in store.scales:
            assert np.array_equal(
                FeatureStore(tmp_path / "s").features(split, scale)[:], store.features(split, scale)[:]
            )
    with pytest.raises(FsrcacheError, match=r"its degradation jpeg is none there and 50 here"):
        extract(faces, workspace / "extractor", scales=[2], degradation=Degradation(jpeg=50), **arguments)


@pytest.mark.slow
def test_threads_change_no_byte_and_a_picture_is_decoded_once(faces, workspace, files, tmp_path):
    before = torch.get_num_threads()
    for threads in (1, 3):
        loads = Counter()

        def load(i, loads=loads):
            loads[i] += 1
            return faces.listing.load(i)

        torch.set_num_threads(threads)
        try:
            watched = replace(faces, listing=replace(faces.listing, load=load))
            extract(watched, workspace / "extractor", scales=[2, 4], store=tmp_path / str(threads), data="drawn faces")
            with ThreadPoolExecutor(1) as pool:  # in a thread that begins afterwards as well as here
                assert {torch.get_num_threads(), pool.submit(torch.get_num_threads).result()} == {threads}
        finally:
            torch.set_num_threads(before)
        assert loads == Counter(faces.rows.tolist())
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_pictures_beyond_the_budget_are_decoded_for_each_scale(faces, workspace, files, tmp_path, monkeypatch):
    source = face_source(faces, workspace / "extractor", device=torch.device("cpu"))
    rows, decode = source.rows("train"), FaceSource.batch
    decoded = Counter()

    def counting(self, rows, **options):
        decoded.update(rows.tolist())
        return decode(self, rows, **options)

    monkeypatch.setattr(FaceSource, "batch", counting)
    monkeypatch.setattr(batches, "_KEPT_BYTES", 24 * 24 * (1 if faces.grey else 3) * (BATCH + 5))
    extract_features(source, store=tmp_path / "s", scales=[2, 4], data="drawn faces")
    assert len(rows) > BATCH
    assert [decoded[row] for row in rows.tolist()] == [1] * BATCH + [3] * (len(rows) - BATCH)
    assert files(tmp_path / "s") == files(workspace / "store")


def test_a_store_is_of_the_pictures_wherever_they_lie(workspace, faces, files, tmp_path):
    rows = np.concatenate([np.flatnonzero(faces.labels == label)[:6] for label in range(len(faces.classes))])
    for number, row in enumerate(rows):
        path = tmp_path / "here/train" / faces.classes[faces.labels[row]] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.batch(np.array([row]))[0]).save(path)
    (tmp_path / "else").mkdir()
    for file in sorted((tmp_path / "here").rglob("*.png"), reverse=True):  # in another order of the directory
        target = tmp_path / "else/there" / file.relative_to(tmp_path / "here")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for name, folder in (("one", "here"), ("two", "else/there")):
        moved = usable_faces(list_faces(tmp_path / folder), side=24)
        extract(moved, workspace / "extractor", store=tmp_path / name, scales=[2], data="faces")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert verify(tmp_path / "two").ok


def test_labels_follow_the_extractors_classes_by_name(workspace, faces):
    """Whatever order the data have, and however they write them, a store is the same."""
    names = ("Neutral", "angry", "Sad", "happy", "DISGUST", "fearful", "surprised")
    listing = replace(faces.listing, classes=names, labels=6 - faces.listing.labels)
    source = face_source(replace(faces, listing=listing), workspace / "extractor", device=torch.device("cpu"))
    assert source.faces.classes == faces.classes
    np.testing.assert_array_equal(source.faces.labels, faces.labels)


def test_other_classes_are_refused_with_both_lists(workspace, faces):
    listing = replace(faces.listing, classes=("joy", *faces.classes[1:]))
    with pytest.raises(FsrcacheError, match=r"classes of the faces are joy, .*; those of CovPoolFER are surprise"):
        face_source(replace(faces, listing=listing), workspace / "extractor", device=torch.device("cpu"))
