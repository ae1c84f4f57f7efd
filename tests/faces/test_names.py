"""Names of files that are not ASCII: the same text in every locale, and pictures that open in every locale."""

import json
import os
import subprocess
import sys

import pytest

from fsrcache.faces.index import list_faces
from fsrcache.faces.survey import survey

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are always UTF-8 there")
NAMES = ("лицо.png", "😀.png", "é.png")
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PROGRAM = """
import json, os, sys
from fsrcache.faces.index import list_faces
from fsrcache.faces.survey import survey
assert sys.getfilesystemencoding() == sys.argv[2], sys.getfilesystemencoding()
listing = list_faces(sys.argv[1])
names = [str(name) for name in listing.names]
record = {"names": names, "where": [listing.where(i) for i in range(len(names))],
          "unreadable": survey(listing).unreadable, "left_out": listing.left_out_names}
os.write(1, json.dumps(record).encode())
"""


def in_locale(path, environment, encoding):
    command = [sys.executable, "-c", PROGRAM, path, encoding]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path, write):
    root = tmp_path / "дані"
    for number, name in enumerate(NAMES):
        write(root / "train/happy" / name, number)
    (root / "train/happy/ä.txt").touch()
    return root


def same_everywhere(path):
    ours = list_faces(path)
    assert not survey(ours).unreadable
    theirs = in_locale(path, C_LOCALE, "ascii")
    assert theirs["names"] == [str(name) for name in ours.names]
    assert theirs["where"] == [ours.where(i) for i in range(len(ours.names))]
    assert theirs["unreadable"] == {}
    assert theirs["left_out"] == ours.left_out_names
    return ours


def test_class_folders_in_a_locale_of_ascii(folder):
    ours = same_everywhere(folder)
    assert sorted(str(name) for name in ours.names) == sorted(f"train/happy/{name}" for name in NAMES)
    assert ours.left_out_names == {"not a picture by its suffix": ["train/happy/ä.txt"]}


def test_a_table_in_a_locale_of_ascii(folder):
    rows = [f"train/happy/{NAMES[0]},happy", f"{folder}/train/happy/{NAMES[1]},sad"]
    (folder / "t.csv").write_text("\n".join(["path,label", *rows]) + "\n", "utf-8")
    assert len(same_everywhere(folder / "t.csv").names) == 2


def test_a_name_that_is_not_utf8_is_named(folder):
    (folder / "train/happy" / NAMES[2]).rename(folder / "train/happy" / os.fsdecode(b"\xff.png"))
    listing = list_faces(folder)
    broken = [str(name) for name in listing.names].index("train/happy/\\xff.png")
    assert survey(listing).unreadable == {broken: "the file's name is not UTF-8; rename it"}
    theirs = in_locale(folder, C_LOCALE, "ascii")
    assert theirs["unreadable"] == {str(broken): "the file's name is not UTF-8; rename it"}


def test_backslashes_of_a_table_are_read_as_slashes_where_the_file_is_there_so(tmp_path, write, tile):
    for number, name in enumerate(("xavier/a.png", "xabel/a.png", "x\\b.png"), start=1):
        write(tmp_path / name, number)
    write(tmp_path / "x/b.png", 9)  # not what is meant: there is a file of the very name
    rows = ["xavier\\a.png,happy", "xabel\\a.png,sad", "x\\b.png,sad", "xyz\\c.png,sad", "x\\" + 256 * "n" + ",sad"]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    listing = list_faces(tmp_path / "t.csv")
    seen = survey(listing)
    assert [listing.load(i)[0, 0] for i in range(3)] == [tile(number)[0, 0] for number in (1, 2, 3)]
    assert seen.unreadable == {3: "missing file", 4: "cannot be read: File name too long"}
    assert seen.conversions == {"backslashes in the path, read as slashes": 2}
    assert [str(name) for name in listing.names[:1]] == ["xavier\\a.png"]  # as written
