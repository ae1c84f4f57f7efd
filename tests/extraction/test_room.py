"""An extraction that the disk has no room for is refused before anything is written."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extraction.extract import estimate_extraction, extract_features, following_extraction
from fsrcache.extraction.room import bytes_of_names, missing_bytes, refuse_full_disk
from fsrcache.extraction.source import face_source, store_spec
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.faces.degrade import SCALE_FORM
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.unlabelled import list_unlabelled
from fsrcache.presets import ExtractorConfig

SHAPE = ExtractorConfig(side=16, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)
MARGIN = 16 << 20


@pytest.fixture(scope="module")
def source():
    faces = usable_faces(list_faces(Path("drawn:70")), side=16)
    extractor = extractor_of(CovPoolFER(SHAPE, faces.classes).eval(), digest="aa")
    return face_source(faces, extractor, device=torch.device("cpu"))


def extract(source, store, **options):
    return extract_features(source, store=store, scales=[2, 4], data="drawn faces", **options)


def with_free(monkeypatch, free):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=free))
    return asked


def test_a_name_takes_as_many_bytes_as_it_has_in_utf_8():
    names = SimpleNamespace(ids={"train": ["é.png", "a\udce9.png"], "val": ["b"]}.get)
    assert bytes_of_names(names, ["train"]) == (6 + 4) + (len("a\\udce9.png") + 4)


def test_what_is_missing_is_what_will_be_written(source, tmp_path, files, stop_after):
    store, spec = tmp_path / "s", store_spec(source, scales=[2, 4], data="drawn faces")
    expected = missing_bytes(store, spec, source)
    seen = []
    assert expected == estimate_extraction(source, store=store, scales=[2, 4], on_progress=seen.append).bytes
    assert {progress.phase for progress in seen} == {"measuring"}
    with pytest.raises(KeyboardInterrupt):
        extract(source, store, on_progress=stop_after("extracting", 100))
    there = sum(len(data) for name, data in files(store).items() if "/x" in name and "/c/" in name)
    some = missing_bytes(store, spec, source)
    assert 0 < some < expected
    extract(source, store)
    written = {name: len(data) for name, data in files(store).items() if "/c/" in name}
    assert 0 <= sum(written.values()) - expected < 100  # counts and checksums of texts
    assert some == sum(size for name, size in written.items() if "/x" in name) - there
    assert missing_bytes(store, spec, source) == 0


def test_a_disk_without_room_is_named_with_both_sizes_and_nothing_is_written(source, tmp_path, monkeypatch):
    store, spec = tmp_path / "deep/er/s", store_spec(source, scales=[2, 4], data="drawn faces")
    needed = missing_bytes(store, spec, source) + MARGIN
    asked = with_free(monkeypatch, needed - 1)
    with pytest.raises(FsrcacheError, match=r"s needs 17 MB more, and its disk has 17 MB free") as refused:
        extract(source, store)
    assert (asked, refused.value.exit_code) == ([tmp_path], 1)
    assert "another disk" in refused.value.remedy
    assert not list(tmp_path.iterdir())
    with_free(monkeypatch, needed)
    assert extract(source, store).complete
    with_free(monkeypatch, 0)
    assert extract(source, store).complete  # it needs no room any more


def test_an_announced_extraction_counts_views_and_faces_without_labels(source):
    unlabelled = usable_faces(list_unlabelled("drawn:100"), side=16)
    options = {"scales": [2, 4], "degradation": SCALE_FORM, "views": 3, "unlabelled": unlabelled}
    _, words = following_extraction(source.faces, **options)(source.extractor)
    assert words == f"the extraction of {(70 + 3 * 49 + 30) * 3:,} pictures"


def test_what_is_removed_before_makes_room(source, tmp_path, monkeypatch, stop_after):
    store = tmp_path / "s"
    extract(source, store)
    others = [usable_faces(list_unlabelled(f"drawn:{count}"), side=16) for count in (100, 130)]
    first, second = (
        face_source(source.faces, source.extractor, device=torch.device("cpu"), unlabelled=one) for one in others
    )
    with pytest.raises(KeyboardInterrupt):
        extract(first, store, on_progress=stop_after("extracting", 30))
    begun = sum(path.stat().st_size for path in (store / "unlabelled").rglob("*") if path.is_file())
    assert begun > 1000
    needed = missing_bytes(store, store_spec(second, scales=[2, 4], data="drawn faces"), second) + MARGIN
    with_free(monkeypatch, needed - begun - 1)
    with pytest.raises(FsrcacheError, match="disk has"):
        extract(second, store)
    with_free(monkeypatch, needed - begun)
    assert extract(second, store).complete


def test_the_other_parts_of_a_store_need_room_too(source, tmp_path, monkeypatch):
    spec = store_spec(source, scales=[2, 4], data="drawn faces")
    with_free(monkeypatch, missing_bytes(tmp_path / "s", spec, source) + MARGIN - 1)
    with pytest.raises(FsrcacheError, match="disk has"):
        extract(source, tmp_path / "s", part=(1, 2))


def test_a_link_in_an_unfinished_store_is_said_with_what_to_do(source, tmp_path, stop_after):
    store = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        extract(source, store, on_progress=stop_after("extracting", 100))
    (store / "train/labels/c/0").rename(tmp_path / "labels")
    (store / "train/labels/c/0").symlink_to(tmp_path / "labels")
    with pytest.raises(FsrcacheError, match=r"s cannot be read: train/labels/c/0 is a symbolic link\.") as refused:
        extract(source, store)
    assert "verify" in refused.value.remedy


def test_storage_elsewhere_is_not_asked(source, monkeypatch):
    asked = with_free(monkeypatch, 0)
    refuse_full_disk("memory://room/features.zarr", store_spec(source, scales=[2], data=""), source)
    assert not asked
