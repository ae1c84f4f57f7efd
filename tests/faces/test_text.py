"""Text files as people have them: headers, delimiters, encodings, line ends, packing; and those meant to harm."""

import csv
import gzip
import lzma
import tracemalloc

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.index import list_faces
from fsrcache.faces.layouts.text import LINE_LIMIT, lines_of

MIB = 1 << 20


def rows_of(listing):
    return {
        str(name): (listing.classes[label], SPLITS[split])
        for name, label, split in zip(listing.names, listing.labels, listing.splits, strict=True)
    }


TWO = {"1.png": ("happiness", "train"), "2.png": ("sadness", "test")}


@pytest.fixture
def table(tmp_path):
    """Write a table and list it."""

    def table(content, name="t.csv"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return list_faces(tmp_path / name)

    return table


@pytest.mark.parametrize("path", ["path", "File_Name", "IMAGE PATH", "\ufefffile-path", '"Image"', "img."])
@pytest.mark.parametrize("label", ["label", "Emotion", " Class_Name "])
@pytest.mark.parametrize(
    "split", ["split", "SPLIT", "usage", "Usage ", "Partition", "set", "sub_set", "Dataset", "fold"]
)
def test_headers(table, path, label, split):
    listing = table(f"{path},{label},{split}\n1.png,happy,Training\n2.png,sad,private_test\n")
    assert listing.layout == "table"
    assert rows_of(listing) == TWO
    assert listing.notes == ()


@pytest.mark.parametrize("usage", ["usage", "USAGE", " Usage", "split", "Data-Set"])
def test_headers_of_fer2013(fer_csv, usage):
    listing = list_faces(fer_csv("a.csv", edit=lambda text: text.replace("Usage", usage).replace("emotion", "Emotion")))
    assert listing.layout == "fer2013"
    assert [SPLITS[split] for split in listing.splits] == ["train", "train", "val", "test"]


def test_a_missing_split_is_said(table, fer_csv):
    assert table("path,label,sex\n1.png,happy,f\n2.png,sad,m\n").notes == (
        "no split column (columns: path, label, sex): all 2 pictures are train",
    )
    listing = list_faces(fer_csv("fer2013.csv", edit=lambda text: text.replace("Usage", "who")))
    assert listing.notes == ("no split column (columns: emotion, pixels, who): all 4 pictures are train",)
    assert not listing.splits.any()


@pytest.mark.parametrize(
    ("header", "both"),
    [
        ("path,label,split,Usage", "'split' and 'Usage'"),
        ("path,label,set,Dataset", "'set' and 'Dataset'"),
        ("path,label,Label,split", "'label' and 'Label'"),
        ("path,emotion,expression,split", "'emotion' and 'expression'"),
        ("path,image,label,split", "'path' and 'image'"),
    ],
)
def test_an_ambiguous_header_is_refused(table, header, both):
    with pytest.raises(FsrcacheError, match=f"has the columns {both}, which mean the same"):
        table(f"{header}\na,b,c,d\n")


def test_a_fold_beside_a_split_is_not_the_split(table):
    assert rows_of(table("path,label,fold,split\n1.png,happy,3,train\n2.png,sad,test,test\n")) == TWO
    with pytest.raises(FsrcacheError, match=r"Line 2 .* has the split '3' in its column 'fold'"):
        table("path,label,fold\n1.png,happy,3\n")


def test_an_ambiguous_header_of_fer2013_is_refused(fer_csv):
    path = fer_csv("fer2013.csv", edit=lambda text: text.replace("pixels", "pixels,split").replace("0,", "0,train,", 1))
    with pytest.raises(FsrcacheError, match="'split' and 'Usage'"):
        list_faces(path)


def test_an_unknown_split_names_line_and_value(table):
    with pytest.raises(FsrcacheError) as caught:
        table("path,label,split\n1.png,happy,train\n\n2.png,sad,middle\n")
    assert "Line 4 of" in caught.value.what
    assert "'middle' in its column 'split'" in caught.value.what
    assert "publictest" in caught.value.remedy


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_and_line_ends(table, ending, encoding):
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    text = mark + ending.join(["path,label,split", "1.png,happy,train", "", "é.png,sad,test", ""])
    assert rows_of(table(text.encode(encoding))) == {"1.png": TWO["1.png"], "é.png": TWO["2.png"]}


def test_mixed_line_ends_keep_their_numbers(table):
    text = "path,label,split\r1.png,happy,train\r\n\n2.png,sad,test\n"
    assert rows_of(table(text)) == TWO
    with pytest.raises(FsrcacheError, match="Line 5 of"):
        table(text + "3.png,sad,middle\r")


@pytest.mark.parametrize("name", ["T.CSV", "t.Tsv", "t.txt", "T.TXT.GZ", "t.csv.XZ", "t.csv.gz"])
def test_suffixes_and_packing(table, name):
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(name.lower()[-3:], bytes)
    assert rows_of(table(pack(b"path,label,split\n1.png,happy,train\n2.png,sad,test\n"), name)) == TWO


def test_what_a_file_is_packed_with_is_seen_in_it(table):
    text = b"path,label,split\n1.png,happy,train\n2.png,sad,test\n"
    assert rows_of(table(text, "unpacked.csv.gz")) == TWO
    assert rows_of(table(lzma.compress(text), "packed.csv")) == TWO


@pytest.mark.parametrize(
    ("name", "text", "notes"),
    [
        ("t.csv", "path;label;split\n1.png;happy;train\n2.png;sad;test\n", ("columns are separated by semicolons",)),
        ("t.csv", "path\tlabel\tsplit\n1.png\thappy\ttrain\n2.png\tsad\ttest\n", ("columns are separated by tabs",)),
        ("t.tsv", "path,label,split\n1.png,happy,train\n2.png,sad,test\n", ("columns are separated by commas",)),
        (
            "t.csv",
            "sep=;\npath;label;split\n1.png;happy;train\n2.png;sad;test\n",
            ("columns are separated by semicolons",),
        ),
        ("t.csv", "\n\npath,label,split\n1.png,happy,train\n2.png,sad,test\n", ()),
        ("t.csv", "path,label,split,\n1.png,happy,train,\n2.png,sad,test,\n", ()),
        ("t.csv", "path,label,split,\n1.png,happy,train\n2.png,sad,test\n", ()),
        ("t.csv", "path,label,split\n1.png,happy,train,,\n2.png,sad,test,\n", ()),
        ("t.csv", "path,label,split\n1.png,happy,train\n,,\n2.png,sad,test\n,,\n", ()),
        ("t.csv", '"path", "label","split"\n"1.png", "happy","train"\n"2.png","sad","test"\n', ()),
        ("t.csv", 'path,label,split,"said\nof"\n1.png,happy,train,"two\n\nlines"\n2.png,sad,test,"a ""b"", c"\n', ()),
    ],
)
def test_tables_as_people_have_them(table, name, text, notes):
    listing = table(text, name)
    assert rows_of(listing) == TWO
    assert listing.notes == notes


def test_a_quoted_value_may_have_the_delimiter(table):
    assert rows_of(table('path,label\n"a, b.png",happy\n')) == {"a, b.png": ("happiness", "train")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv is empty"),
        (b"\xef\xbb\xbf", r"t\.csv is empty"),
        (gzip.compress(b"", mtime=0), r"t\.csv is empty"),
        (b"path,label\n", "has a header and no row"),
        (b"path,label\n\n,\n \n", "has a header and no row"),
        (b"path,name\n1.png,happy\n", "not recognised; its columns are path, name"),
        (b"path,label\n1.png\n", "Line 2 .* has 1 columns, the header 2"),
        (b"path,label\n1.png,happy\n2.png,sad,test\n", "Line 3 .* has 3 columns, the header 2"),
        (b"path,label\nx\xe9.png,happy\n", "Line 2 .* is not UTF-8: byte 0xE9 at offset 12"),
        (b"\xef\xbb\xbfpath,label\r\n\r\n1.png,happ\xff\r\n", "Line 3 .* is not UTF-8: byte 0xFF at offset 27"),
        (b"path,label\r" + b"1.png,happy\n" * 9000 + b"\x80", "Line 9002 .* is not UTF-8: byte 0x80 at offset 108011"),
        (b"path,label\n" + b"x" * 65_518 + b",happy\r\xff", "Line 3 .* is not UTF-8: byte 0xFF at offset 65536"),
        (b"path,label\n1.png,happy\xc3", "Line 2 .* is not UTF-8: byte 0xC3 at offset 22"),
        ("path,label\n1.png,happy\n".encode("utf-16") + b"\0", "Line 3 .* is not UTF-16: byte 0x00 at offset 48"),
        ("path,label\n1.png,happy\n".encode("utf-16-le"), "Line 1 .* has NUL bytes"),
        (b"path,label\n1.png,ha\0ppy\n", "Line 2 .* has NUL bytes"),
        (b'path,label\n1.png,"happy\n2.png,sad\n', "Line 2 .* is no row of a table: unexpected end of data"),
        (b'path,label\n"1".png,happy\n', "Line 2 .* is no row of a table: ',' expected after '\"'"),
        (b'path,label\n1.png,"' + b"x" * 200_000 + b'"\n', "Line 2 .* is no row of a table: field larger"),
        (gzip.compress(b"path,label\n" + b"1.png,happy\n" * 99, mtime=0)[:-9], "cannot be read"),
        (gzip.compress(b"path,label\n1.png,happy\n", mtime=0) + b"more", "cannot be read"),
        (b"\x1f\x8b\x08\0" + b"junk" * 9, "cannot be read"),
        (lzma.compress(b"path,label\n1.png,happy\n")[:-20], "cannot be read"),
        (b"\xfd7zXZ\0" + b"junk" * 9, "cannot be read"),
    ],
)
def test_what_is_no_table_is_told(table, content, message):
    with pytest.raises(FsrcacheError, match=message):
        table(content)


def test_a_cut_archive_says_after_which_line(table):
    noise = np.random.default_rng(0).integers(0, 1 << 40, 4000)
    content = "path,label\n" + "".join(f"{n}.png,happy\n" for n in noise)
    with pytest.raises(FsrcacheError, match=r"cannot be read after line \d+"):
        table(gzip.compress(content.encode())[:-5000])


@pytest.mark.parametrize(
    ("start", "part", "message"),
    [
        (b"", b"\0" * MIB, "Line 1 .* has more than 1,048,576 characters"),
        (b"emotion,pixels\n0,", b"0 " * (MIB // 2), "Line 2 .* has more than 1,048,576 characters"),
        (b'path,label\n"', b"0\n" * (MIB // 2), "Line 2 .* is no row of a table"),
        (b"\xff\xfe", b"0\0" * (MIB // 2), "Line 1 .* has more than 1,048,576 characters"),
    ],
)
@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_a_bomb_ends_quickly_in_little_memory(tmp_path, start, part, message, packing):
    content = start + part * 60
    path = tmp_path / f"t.csv.{packing}"
    path.write_bytes(gzip.compress(content, 1, mtime=0) if packing == "gz" else lzma.compress(content, preset=0))
    tracemalloc.start()
    with pytest.raises(FsrcacheError, match=message):
        list_faces(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 * MIB


def test_a_row_of_many_lines_has_a_limit_of_our_own(table):
    """Somebody else may have lifted the csv module's, which belongs to the process."""
    before = csv.field_size_limit(1 << 30)
    try:
        with pytest.raises(FsrcacheError, match=r"Line 3 .* begins a row of more than 1,048,576 characters"):
            table('path,label\n1.png,happy\n2.png,"' + "sad\n" * (LINE_LIMIT // 3))
    finally:
        csv.field_size_limit(before)


def test_the_longest_line_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("x" * LINE_LIMIT + "\n" + "y" * LINE_LIMIT)
    assert [(number, len(line)) for number, line in lines_of(tmp_path / "a.txt")] == [(1, LINE_LIMIT), (2, LINE_LIMIT)]
    (tmp_path / "a.txt").write_text("x" * LINE_LIMIT + "\n" + "y" * (LINE_LIMIT + 1))
    with pytest.raises(FsrcacheError, match="Line 2"):
        list(lines_of(tmp_path / "a.txt"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_label_lists(rafdb, encoding, ending):
    labels = rafdb / "basic/EmoLabel/list_patition_label.txt"
    expected = rows_of(list_faces(rafdb))
    text = ending.join(labels.read_text().split("\n"))
    labels.write_bytes(text.encode(encoding))
    assert rows_of(list_faces(rafdb)) == expected
    labels.unlink()
    labels.with_name("LIST_PATITION_LABEL.TXT.GZ").write_bytes(gzip.compress(text.encode(encoding)))
    assert rows_of(list_faces(rafdb)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "has no line with a label"),
        (b"train_00001.jpg 5\ntrain_\xe9.jpg 5\n", "Line 2 .* is not UTF-8: byte 0xE9 at offset 24"),
        (b"train_00001.jpg 5\ntrain_0\0.jpg 5\n", "Line 2 .* has NUL bytes"),
        (b"train_00001.jpg " + b"5" * (2 * MIB), "Line 1 .* has more than"),
    ],
)
def test_wrong_label_lists(rafdb, content, message):
    (rafdb / "basic/EmoLabel/list_patition_label.txt").write_bytes(content)
    with pytest.raises(FsrcacheError, match=message):
        list_faces(rafdb)


@pytest.mark.parametrize("header", ["Usage,Image name", "usage;IMAGE_NAME", "\ufeffSplit\tImageName"])
def test_votes(fer_csv, header):
    delimiter = next(mark for mark in ";\t," if mark in header)
    path = fer_csv("FER2013.CSV")
    names = "Neutral,Happiness,surprise,sadness,anger,disgust,fear,contempt,Unknown,nf"
    lines = [header + "," + names, *(f"{usage},x.png,0,9,0,0,0,0,0,0,1,0" for usage in ("Training", "training"))]
    lines += ["public test,x.png,0,9,0,0,0,0,0,0,1,0", "PrivateTest,x.png,0,9,0,0,0,0,0,0,1,0"]
    path.with_name("FER2013New.csv").write_text("\r\n".join(lines).replace(",", delimiter))
    for given in (path, path.parent, path.with_name("FER2013New.csv")):
        listing = list_faces(given)
        assert listing.layout == "ferplus"
        assert [listing.classes[label] for label in listing.labels] == ["happiness"] * 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Training,x,0,9,0,0,0,0,0,0,1,-1", "Line 3 .* has the vote '-1' for NF"),
        ("Training,x,0,9,0,0,0,0,0,0,1,²", "Line 3 .* has the vote '²' for NF"),
        ("Training,x,1e3,9,0,0,0,0,0,0,1,0", "Line 3 .* has the vote '1e3' for neutral"),
        ("Training,x,99999999999999999999,9,0,0,0,0,0,0,1,0", "Line 3 .* has the vote '9999"),
        ("Training,x,0,9", "Line 3 .* has 4 columns, the header 12"),
        ("Trained,x,0,9,0,0,0,0,0,0,1,0", "Line 3 .* has the split 'Trained' in its column 'Usage'"),
    ],
)
def test_wrong_votes(fer_csv, row, message):
    path = fer_csv("fer2013.csv")
    header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    path.with_name("fer2013new.csv").write_text(f"{header}\nTraining,x,0,9,0,0,0,0,0,0,1,0\n{row}\n")
    with pytest.raises(FsrcacheError, match=message):
        list_faces(path)


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_pixels_of_a_quoted_or_other_table(fer_csv, tile, fer_rows, delimiter, quote):
    def edit(text):
        rows = (line.split(",") for line in text.splitlines())
        return "\r\n".join(delimiter.join(f"{quote}{value}{quote}" for value in row) for row in rows)

    listing = list_faces(fer_csv("fer2013.csv", edit=edit))
    for i in range(len(fer_rows)):
        assert np.array_equal(listing.load(i), tile(i))


def test_an_emotion_that_only_looks_like_a_number(fer_csv):
    with pytest.raises(FsrcacheError, match=r"Line 3 .* has the emotion '³'"):
        list_faces(fer_csv("fer2013.csv", edit=lambda text: text.replace("\n3,", "\n³,")))


def test_an_error_lists_few_of_many_classes(table):
    with pytest.raises(FsrcacheError) as caught:
        table("path,label\n" + "".join(f"{i}.png,class {i}\n" for i in range(5000)))
    assert "and 4,980 more" in caught.value.what
    assert len(str(caught.value)) < 3000
