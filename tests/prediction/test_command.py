"""``fsrcache predict`` as it is typed: the document others rely on, the other outputs, exit codes."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fsrcache.cli.main import main
from fsrcache.prediction.predict import predict_frames


@pytest.fixture
def typed(folder, capsys, monkeypatch, tmp_path):
    """Return a function that runs the command in a folder of its own; it returns the exit code and both outputs."""
    monkeypatch.chdir(tmp_path)

    def run(*words, terminal=False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        where = [] if "--model" in words else ["--workspace", str(folder)]
        with pytest.raises(SystemExit) as left:
            main(["predict", *map(str, words), *where, "--device", "cpu"])
        shown = capsys.readouterr()
        return left.value.code, shown.out, shown.err

    return run


@pytest.fixture
def boxes(tmp_path, crowd):
    path = tmp_path / "boxes.csv"
    path.write_text("path,x,y,width,height\n" + "".join(f"photo.png,{x},{y},{s},{s}\n" for x, y, s in crowd[1]))
    return path


@pytest.mark.usefixtures("photo")
def test_the_document_that_others_rely_on(typed, boxes, model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"-")
    code, out, _ = typed("photo.png", "broken.png", "--boxes", boxes, "--json")
    document = json.loads(out)
    assert code == 1
    assert list(document) == ["pictures", "failed"]
    assert document["failed"] == [{"path": "broken.png", "reason": "not a picture of a known format"}]
    (picture,) = document["pictures"]
    assert list(picture) == ["path", "faces"]
    assert picture["path"] == "photo.png"
    assert [face["box"] for face in picture["faces"]] == [
        [10, 20, 96, 96], [150, 30, 48, 48], [230, 120, 32, 32], [40, 160, 24, 24],
    ]  # fmt: skip
    for face in picture["faces"]:
        assert list(face) == ["box", "size", "scale", "label", "probabilities", "confidence", "unsure"]
        assert face["size"] == face["box"][2]
        assert tuple(face["probabilities"]) == model.classes
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert face["label"] == max(face["probabilities"], key=face["probabilities"].get)
        assert face["unsure"] is (face["confidence"] < 0.5)


@pytest.mark.usefixtures("photo")
def test_a_box_that_shows_no_face_is_named_with_its_picture(typed, boxes):
    boxes.write_text(boxes.read_text() + "photo.png,-20,5,30,30\n")
    code, out, _ = typed("photo.png", "--boxes", boxes, "--json")
    document = json.loads(out)
    assert code == 1
    assert [len(picture["faces"]) for picture in document["pictures"]] == [4]
    reason = "the face's box, 30 x 30 at -20, 5, does not fit the picture of 320 x 240 pixels"
    assert document["failed"] == [{"path": "photo.png", "reason": reason}]


@pytest.mark.usefixtures("photo")
def test_found_faces_in_every_form(typed):
    code, out, _ = typed("photo.png", "--json")
    assert code == 0
    document = json.loads(out)
    faces = document["pictures"][0]["faces"]
    assert len(faces) == 4
    _, lines, _ = typed("photo.png", "photo.png", "--jsonl")
    assert [json.loads(line)["faces"] for line in lines.splitlines()] == [faces, faces]
    _, text, _ = typed("photo.png", "--csv")
    rows = list(csv.DictReader(text.splitlines()))
    for row, face in zip(rows, faces, strict=True):
        numbers = [*face["box"], face["size"], face["scale"]]
        assert [int(row[name]) for name in ("x", "y", "width", "height", "size", "scale")] == numbers
        assert (row["path"], row["label"], row["unsure"]) == ("photo.png", face["label"], str(face["unsure"]).lower())
        for name, probability in face["probabilities"].items():
            assert float(row[name]) == pytest.approx(probability, abs=1e-6)
    _, table, _ = typed("photo.png")
    assert table.splitlines()[0].split() == ["picture", "box", "pixels", "scale", "label", "confidence"]
    assert [line.split()[1:5] for line in table.splitlines()[1:]] == [list(map(str, face["box"])) for face in faces]


def test_no_face_is_an_answer(typed, tmp_path):
    Image.new("RGB", (60, 40), "white").save(tmp_path / "empty.png")
    code, out, _ = typed("empty.png", "--json")
    assert (code, json.loads(out)) == (0, {"pictures": [{"path": "empty.png", "faces": []}], "failed": []})
    assert typed("empty.png", "--csv")[:2] == (0, "path,x,y,width,height,size,scale,label,confidence,unsure\n")
    assert typed("empty.png")[1].splitlines()[1].split() == ["empty.png", "no", "face"]


@pytest.mark.usefixtures("photo")
def test_the_table_of_what_was_answered_is_printed_at_ctrl_c(typed, boxes, monkeypatch):
    def interrupted(*given, **settings):
        yield from predict_frames(*given, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("fsrcache.verbs.predict.predict_frames", interrupted)
    code, out, err = typed("photo.png", "--boxes", boxes)
    assert code == 130
    assert [line.split()[0] for line in out.splitlines()] == ["picture", *["photo.png"] * 4]
    assert "Interrupted" in err


@pytest.mark.usefixtures("photo")
def test_what_fails_is_named_whatever_the_form(typed, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"-")
    for form in ((), ("--csv",)):
        code, out, said = typed("broken.png", "photo.png", *form)
        assert code == 1
        assert "Failed: broken.png: not a picture of a known format" in said
        assert out.count("photo.png") == 4
    code, out, _ = typed("broken.png", "photo.png", "--jsonl")
    assert code == 1
    assert json.loads(out.splitlines()[0]) == {"path": "broken.png", "reason": "not a picture of a known format"}


def test_a_name_is_whole_in_csv_and_steers_no_terminal(typed, drawn):
    name = '\x1b[31m"red",\n\x9b1m\r.png'
    Image.fromarray(drawn[0]).save(name)
    _, text, _ = typed(name, "--crops", "--csv")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["path"] == name
    shown = r"\x1b[31m" + '"red",' + r"\n\x9b1m\r.png"
    assert shown.replace('"red"', '""red""') in typed(name, "--crops", "--csv", terminal=True)[1]
    assert shown in typed(name, "--crops")[1]
    Path(name).write_bytes(b"-")
    assert f"Failed: {shown}: not a picture" in typed(name)[2]


def test_what_a_folder_leaves_out_is_said(typed, photo, tmp_path):
    (tmp_path / "party").mkdir()
    photo.rename(tmp_path / "party/photo.png")
    for name in ("b.heic", "c\x1b[31m.mp4"):
        (tmp_path / "party" / name).write_bytes(b"-")
    (tmp_path / "empty").mkdir()
    code, out, said = typed("party", "empty", "--crops", "--json")
    assert code == 1
    assert json.loads(out)["failed"] == [{"path": "empty", "reason": "a folder without a picture"}]
    assert r"Left out: 2 (not a picture by its suffix: party/b.heic, party/c\x1b[31m.mp4)." in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["nowhere.png"], "There is no picture at nowhere.png."),
        (["photo.png", "--json", "--csv"], "--json, --jsonl and --csv exclude each other."),
        ([".", "--annotate", "answers"], "Pictures annotated in answers would lie in"),
        (["photo.png", "--finder", "eyes"], "Invalid value for '--finder'"),
        ([], "Missing argument 'PATH...'"),
    ],
)
@pytest.mark.usefixtures("photo")
def test_a_wrong_request_ends_with_2(typed, words, what):
    code, _, said = typed(*words)
    assert code == 2
    assert what in said


def test_responsible_use_stands_at_the_top_of_the_help(typed):
    code, out, _ = typed("--help")
    assert code == 0
    assert out.index("Do not decide about") < out.index("PATH is a picture") < out.index("Options:")


def test_annotated_pictures_lie_as_the_pictures_do(typed, photo, tmp_path):
    (tmp_path / "party").mkdir()
    photo.rename(tmp_path / "party/photo.png")
    assert typed("party", "--annotate", "answers", "--json")[0] == 0
    with Image.open(tmp_path / "answers/party/photo.png.png") as image:
        assert image.size == (960, 720)  # enlarged, so that 24 pixels have room for a label


def test_an_annotated_picture_that_cannot_be_written_fails_alone(typed, drawn):
    names = ["a.png", f"{'b' * 248}.png", f"{'c' * 240}.png"]
    for name in names:
        Image.fromarray(drawn[0]).save(name)
    code, out, _ = typed(*names, "--crops", "--annotate", "answers", "--json")
    document = json.loads(out)
    assert code == 1
    assert [picture["path"] for picture in document["pictures"]] == names
    reason = f"answers/{names[1]}.png cannot be written: File name too long."
    assert document["failed"] == [{"path": names[1], "reason": reason}]
    assert sorted(path.name for path in Path("answers").iterdir()) == [f"{name}.png" for name in (names[0], names[2])]


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_it_quietly(folder, photo):
    words = [sys.executable, "-c", "from fsrcache.cli import main; main()", "predict", photo, "--jsonl", "--crops"]
    command, pipe = [*words, "--workspace", folder], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert b"Error" not in said


def test_a_folder_without_an_exported_model_is_a_wrong_request(typed, tmp_path):
    code, _, errors = typed("photo.png", "--model", tmp_path)
    assert code == 2
    assert "There is no exported model in" in errors


def test_a_model_comes_in_place_of_a_workspace(typed, folder, tmp_path):
    code, _, errors = typed("photo.png", "--model", tmp_path, "--workspace", folder)
    assert code == 2
    assert "--model and --workspace exclude each other." in errors
