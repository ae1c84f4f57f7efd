"""The examples do what they say: they are run, and their networks recognise what they should."""

import pytest

from examples import covariance_network, own_network, predict_folder
from fsrcache.drawn.face import draw_face
from fsrcache.files import write_whole
from fsrcache.store.verify import verify


def test_a_network_around_the_ops_learns(capsys):
    assert covariance_network.main() > 0.9
    assert capsys.readouterr().out.startswith("accuracy on new textures: ")


def test_outputs_of_a_network_are_cached_once_and_learnt_from(tmp_path, files):
    location = tmp_path / "vectors.zarr"
    assert own_network.main(location) > 0.9
    assert verify(location).ok
    before = files(location)
    own_network.write_store(location)
    assert files(location) == before


def test_a_folder_of_faces_is_classified(trained, tmp_path, monkeypatch, capsys):
    from PIL import Image

    (tmp_path / "faces/more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "more/b.jpg")):
        Image.fromarray(draw_face(0, number)).resize((12 * (number + 1),) * 2).save(tmp_path / "faces" / name)
    write_whole(tmp_path / "faces/notes.txt", b"no picture")
    monkeypatch.chdir(trained)
    labels = predict_folder.main("fsr", str(tmp_path / "faces"))
    assert [path.removeprefix(f"{tmp_path}/faces/") for path in labels] == ["a.png", "more/b.jpg"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert printed[0].endswith("(x2)")
    assert printed[1].endswith("(x1)")


def test_no_picture_is_no_label(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    assert predict_folder.main("fsr", str(tmp_path)) == {}


@pytest.mark.parametrize("module", [covariance_network, own_network, predict_folder])
def test_the_first_lines_say_how_it_is_run(module):
    assert f"python examples/{module.__name__.rpartition('.')[2]}.py" in module.__doc__
