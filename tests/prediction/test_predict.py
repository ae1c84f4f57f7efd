"""``predict``: crops and known boxes are labelled as ``load`` labels their pixels, at the scale of their size."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fsrcache.deployment.weights import ExportedModel, write_exported
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.calibration import with_temperature
from fsrcache.faces.boxes import Box
from fsrcache.prediction.answers import Failure
from fsrcache.verbs.evaluate import evaluate
from fsrcache.verbs.predict import predict


@pytest.fixture
def boxes(tmp_path, photo, crowd):
    """A CSV file of the crowd's boxes, the smallest first."""
    path = tmp_path / "boxes.csv"
    lines = [f"{photo.name},{x},{y},{side},{side}" for x, y, side in reversed(crowd[1])]
    path.write_text("\n".join(["path,x,y,width,height", *lines]))
    return path


def test_known_boxes_are_labelled_as_their_pixels(folder, model, photo, boxes, crowd):
    (picture,) = predict([photo], workspace=folder, boxes=boxes)
    pixels, squares = crowd
    squares = squares[::-1]  # the file's order
    expected = model([pixels[y : y + side, x : x + side] for x, y, side in squares])
    assert picture.path == str(photo)
    assert [face.box for face in picture.faces] == [Box(x, y, side, side) for x, y, side in squares]
    assert [face.size for face in picture.faces] == [side for _, _, side in squares]
    assert [face.label for face in picture.faces] == expected.labels
    assert [face.scale for face in picture.faces] == expected.scales.tolist() == [1, 1, 1, 1]
    for face, probabilities in zip(picture.faces, expected.probabilities, strict=True):
        assert tuple(face.probabilities) == model.classes
        np.testing.assert_allclose(list(face.probabilities.values()), probabilities, atol=1e-5)


def test_crops_of_every_size_at_the_scale_that_fits(folder, model, drawn, tmp_path):
    sides = [60, 24, 12, 9, 6, 3]
    for side in sides:
        Image.fromarray(drawn[side]).resize((side, side)).save(tmp_path / f"{side:02}.png")
    answers = list(predict([tmp_path / "*.png"], workspace=folder, crops=True))
    sizes, scales = zip(*((one.faces[0].size, one.faces[0].scale) for one in answers), strict=True)
    assert (sizes, scales) == ((3, 6, 9, 12, 24, 60), (4, 4, 2, 2, 1, 1))
    pixels = [np.asarray(Image.open(one.path)) for one in answers]
    assert [one.faces[0].label for one in answers] == model(pixels).labels
    assert [one.faces[0].box for one in answers] == [Box(0, 0, side, side) for side in sizes]


def test_a_crop_is_brought_to_a_square_as_the_training_faces_are(folder, model, drawn, tmp_path):
    Image.fromarray(drawn[0][:, 20:80]).save(tmp_path / "narrow.png")
    (answer,) = predict([tmp_path / "narrow.png"], workspace=folder, crops=True)
    expected = model(drawn[0][:, 20:80]).probabilities[0]
    np.testing.assert_allclose(list(answer.faces[0].probabilities.values()), expected, atol=1e-6)


def test_batches_change_nothing(folder, drawn, tmp_path):
    for row, face in enumerate(drawn):  # more than a batch's faces
        Image.fromarray(face).save(tmp_path / f"{row:02}.png")
    together = list(predict([tmp_path / "*.png"], workspace=folder, crops=True))
    alone = [next(predict([one.path], workspace=folder, crops=True)) for one in together[::23]]
    assert len(together) == 70
    for one, other in zip(together[::23], alone, strict=True):
        assert one.path == other.path
        np.testing.assert_allclose(
            list(one.faces[0].probabilities.values()), list(other.faces[0].probabilities.values()), atol=1e-5
        )


def test_a_confidence_is_the_probability_at_the_temperature_of_the_scale(folder, drawn, tmp_path):
    Image.fromarray(drawn[3]).resize((12, 12)).save(tmp_path / "small.png")
    (answer,) = predict([tmp_path / "small.png"], workspace=folder, crops=True)
    face = answer.faces[0]
    kept = json.loads((folder / "runs/default/temperatures.json").read_text())
    assert list(kept["scales"]) == ["2"]  # the others are fitted when they are needed
    temperature = kept["scales"]["2"]
    assert (temperature["faces"], temperature["temperature"] != 1) == (14, True)
    probabilities = np.array([list(face.probabilities.values())])
    assert face.confidence == pytest.approx(with_temperature(probabilities, temperature["temperature"]).max(), abs=1e-6)
    assert face.label == max(face.probabilities, key=face.probabilities.get)
    for threshold, unsure in ((face.confidence - 0.01, False), (face.confidence + 0.01, True)):
        (again,) = predict([tmp_path / "small.png"], workspace=folder, crops=True, threshold=threshold)
        assert again.faces[0].unsure == unsure


def test_temperatures_are_those_of_the_run(folder, drawn, tmp_path):
    Image.fromarray(drawn[3]).save(tmp_path / "face.png")
    path, notes = folder / "runs/default/temperatures.json", []

    def confidence():
        (answer,) = predict([tmp_path / "face.png"], workspace=folder, crops=True, on_progress=notes.append)
        return answer.faces[0].confidence

    first = confidence()
    record = json.loads(path.read_text())
    record["scales"]["1"]["temperature"] = 0.05
    path.write_text(json.dumps(record))
    assert confidence() > first  # what is kept is used
    record["source"]["generator"] = "another"
    path.write_text(json.dumps(record))
    assert confidence() == first  # but for no other run
    path.write_text("{")
    assert confidence() == first
    assert any("made anew" in one.note for one in notes)


def test_temperatures_are_those_of_the_table(folder, drawn, tmp_path, monkeypatch):
    def fit(probabilities, labels):
        """Return a number that tells faces apart: the best temperature of a few is at the bound."""
        return 1 + float((probabilities[:, 0] * (labels + 1)).mean())

    monkeypatch.setattr("fsrcache.evaluation.temperature.fit_temperature", fit)
    Image.fromarray(drawn[3]).resize((12, 12)).save(tmp_path / "small.png")
    list(predict([tmp_path / "small.png"], workspace=folder, crops=True))
    kept = json.loads((folder / "runs/default/temperatures.json").read_text())["scales"]["2"]
    table = evaluate(folder, heads=["frozen"], calibration=True, device="cpu")  # of test, and temperatures of val
    (score,) = (one for one in table.rows if (one.label, one.scale) == ("FSR-FER", 2))
    assert score.temperature == pytest.approx(kept["temperature"], rel=1e-4)
    assert score.calibration_error != pytest.approx(100 * kept["error_before"])  # of other faces


def test_without_a_store_confidences_are_not_calibrated(folder, drawn, tmp_path):
    (folder / "features.zarr").rename(tmp_path / "away")
    Image.fromarray(drawn[3]).save(tmp_path / "face.png")
    notes = []
    (answer,) = predict([tmp_path / "face.png"], workspace=folder, crops=True, on_progress=notes.append)
    assert answer.faces[0].confidence == pytest.approx(max(answer.faces[0].probabilities.values()))
    assert any("not calibrated" in one.note for one in notes)
    assert not (folder / "runs/default/temperatures.json").exists()


def test_an_exported_model_says_the_same_with_its_temperatures_beside_it(folder, model, drawn, tmp_path):
    Image.fromarray(drawn[3]).save(tmp_path / "face.png")
    (expected,) = predict([tmp_path / "face.png"], workspace=folder, crops=True)
    exported = tmp_path / "exported"
    networks = model.extractor, model.generator, model.training, model.run
    write_exported(exported / "model.safetensors", ExportedModel(*networks))
    for calibrated in (False, True):
        if calibrated:
            shutil.copy(folder / "runs/default/temperatures.json", exported)
        (answer,) = predict([tmp_path / "face.png"], workspace=exported, crops=True)
        assert answer.faces[0].probabilities == pytest.approx(expected.faces[0].probabilities, abs=1e-6)
        assert (answer.faces[0].confidence == pytest.approx(expected.faces[0].confidence)) is calibrated


def test_a_scale_without_a_temperature_is_said_once(folder, drawn, tmp_path):
    for side in (24, 12):
        Image.fromarray(drawn[3]).resize((side, side)).save(tmp_path / f"{side}.png")
    list(predict([tmp_path / "24.png"], workspace=folder, crops=True))
    (folder / "features.zarr").rename(tmp_path / "away")
    notes = []
    paths = [tmp_path / f"{side}.png" for side in (24, 12, 12)]
    known, *others = predict(paths, workspace=folder, crops=True, on_progress=notes.append)
    assert known.faces[0].confidence != pytest.approx(max(known.faces[0].probabilities.values()))
    for one in others:
        assert one.faces[0].confidence == pytest.approx(max(one.faces[0].probabilities.values()))
    assert [one.note for one in notes] == [
        f"{folder} has no temperature of x2, and no faces to fit one on: confidences at that scale are not calibrated."
    ]


def test_faces_that_are_small_or_many_are_left_out(folder, photo, boxes):
    def sizes(**options):
        (picture,) = predict([photo], workspace=folder, boxes=boxes, **options)
        return [face.size for face in picture.faces]

    assert sizes() == [24, 32, 48, 96]
    assert sizes(min_size=32) == [32, 48, 96]
    assert sizes(max_faces=2) == [48, 96]
    assert sizes(max_faces=1, min_size=200) == []


def test_what_is_coarser_than_the_generator_knows_is_said(folder, drawn, tmp_path):
    Image.fromarray(drawn[3]).resize((5, 5)).save(tmp_path / "tiny.png")
    notes = []
    (answer,) = predict([tmp_path / "tiny.png"], workspace=folder, crops=True, on_progress=notes.append)
    assert answer.faces[0].scale == 4
    assert any(one.note.startswith("1 face has less than 6 pixels") for one in notes)


def test_damaged_files_fail_and_the_others_go_on(folder, drawn, tmp_path):
    Image.fromarray(drawn[0]).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    Image.fromarray(drawn[1]).save(tmp_path / "c.png")
    Image.new("L", (1, 9)).save(tmp_path / "d.png")
    answers = list(predict([*sorted(tmp_path.glob("?.*")), tmp_path / "gone.png"], workspace=folder, crops=True))
    failed = {answer.path: answer.reason for answer in answers if isinstance(answer, Failure)}
    assert failed == {
        str(tmp_path / "b.jpg"): "not a picture of a known format",
        str(tmp_path / "d.png"): "a face of 1 x 9 pixels",
        str(tmp_path / "gone.png"): "missing file",
    }
    assert [len(answer.faces) for answer in answers if not isinstance(answer, Failure)] == [1, 1]


def test_a_box_that_shows_no_face_fails_alone(folder, photo, tmp_path):
    bad = [(-20, 5, 30, 30), (900, 900, 400, 400), (7, 8, 1, 1)]
    lines = [",".join(map(str, [photo, *box])) for box in [bad[0], (150, 30, 48, 48), *bad[1:], (10, 20, 96, 96)]]
    (tmp_path / "boxes.csv").write_text("\n".join(["path,x,y,width,height", *lines, ""]))
    (tmp_path / "torn.png").write_bytes(b"-")
    first, *others = predict([photo, tmp_path / "torn.png"], workspace=folder, boxes=tmp_path / "boxes.csv")
    assert [face.box.x for face in first.faces] == [150, 10]
    assert others == [
        Failure(str(photo), "the face's box, 30 x 30 at -20, 5, does not fit the picture of 320 x 240 pixels"),
        Failure(str(photo), "the face's box, 400 x 400 at 900, 900, does not fit the picture of 320 x 240 pixels"),
        Failure(str(photo), "the face's box at 7, 8 is a pixel large"),
        Failure(str(tmp_path / "torn.png"), "not a picture of a known format"),
    ]
    options = {"workspace": folder, "boxes": tmp_path / "boxes.csv", "min_size": 2, "max_faces": 1}
    largest, *failures = predict([photo], **options)
    assert [face.box.x for face in largest.faces] == [10]  # no box that fails counts
    assert len(failures) == 2  # what is left out by its size does not fail


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"paths": []}, "There is no picture at no path at all"),
        ({"paths": ["nowhere.png", "none/*.jpg"]}, r"There is no picture at nowhere.png, none/\*.jpg"),
        ({"paths": [3]}, "A path is 3"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"min_size": 0}, "min_size is 0"),
        ({"max_faces": 0}, "max_faces is 0"),
        ({"every": 0}, "every is 0"),
        ({"context": 9.0}, "context is 9"),
        ({"finder_confidence": 101}, "finder_confidence is 101"),
        ({"finder": "eyes"}, "The finder is 'eyes'"),
        ({"crops": True, "boxes": "boxes.csv"}, "have no boxes"),
        ({"crops": True, "finder": "eyes"}, r"No face is searched for where pictures are crops.\nLeave out `finder="),
        (
            {"boxes": "boxes.csv", "context": 2.0, "finder_confidence": 20},
            r"where boxes are known\.\nLeave out `finder_confidence=20, context=2.0`",
        ),
        ({"finder": "haar", "finder_confidence": 20}, "The finder haar has no confidence"),
        ({"boxes": "nowhere.csv"}, "nowhere.csv cannot be read"),
        ({"name": "other"}, "no trained run 'other'"),
        ({"workspace": "nowhere"}, "There is no workspace at"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(folder, photo, arguments, words):
    with pytest.raises(RequestError, match=words):
        predict(**{"paths": [photo], "workspace": folder, **arguments})


def test_another_extractor_is_refused(folder, photo):
    (folder / "runs/default/generator.safetensors").write_bytes(b"none")
    with pytest.raises(FsrcacheError, match="cannot be read"):
        predict([photo], workspace=folder, crops=True)


def test_lines_of_no_picture_are_said_at_the_end(folder, photo, tmp_path):
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\nother.png,5,5,30,30\n")
    notes = []
    (answer,) = predict([photo], workspace=folder, boxes=tmp_path / "boxes.csv", on_progress=notes.append)
    assert answer.faces == ()
    assert notes[-1].note == f"Lines of {tmp_path}/boxes.csv that are of no picture named: other.png."
