"""A table of labels beside pictures, as spreadsheets and scripts write it."""

from __future__ import annotations

import pytest
from PIL import Image

from effpath.data import align_labels, load_data
from effpath.errors import StoreError
from effpath.images import PictureFormat


@pytest.fixture
def read(tmp_path):
    """Write a table beside three pictures and return what is read."""
    for name in ("a.png", "b.png", "images/é.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)

    def written(text, encoding="utf-8"):
        (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
        return load_data(f"imagefolder:{tmp_path}", picture_format=PictureFormat(3, 4, 4))

    return written


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_mark_before_the_text_and_either_end_of_line_are_understood(read, encoding, ends):
    data = read(ends.join(["file,label", "a.png,1", "é.png, 0", ""]), encoding)
    assert data.part("all").labels.tolist() == [1, 0]
    assert list(data.part("all").names) == ["a.png", "images/é.png"]
    assert list(data.left_out) == ["b.png"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_refused_with_what_to_do(read, encoding):
    with pytest.raises(StoreError, match=r"expected .*labels\.csv as UTF-8 text.*save it again as UTF-8"):
        read("file,label\né.png,1\n", encoding)


def test_files_may_be_absolute(read, tmp_path):
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere.png"
    Image.new("RGB", (4, 4)).save(elsewhere)
    data = read(f"file,label\n{tmp_path}/a.png,1\n{elsewhere},0\n")
    assert list(data.part("all").names) == ["a.png", str(elsewhere)]
    assert data.part("all").images[:].shape == (2, 3, 4, 4)


def test_names_and_ids_as_labels_are_matched_by_name(read):
    data = read("file,label\na.png,n02\nb.png,n01\né.png,n02\n")
    assert data.classes == ("n01", "n02")
    outputs = align_labels(data.classes, 3, ["cat", "dog", "cow"], ["n03", "n02", "n01"])
    assert outputs[data.part("all").labels].tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,n01\nb.png,3\n", "line 3: expected columns file and label"),
        ("file;label\na.png;1\n", "line 2: expected columns file and label"),
        ("name,class\na.png,1\n", "line 2: expected columns file and label"),
        ("file,label\na.png,1000001\n", "line 2: expected the number of a class"),
        ("file,label\n", "a line for each picture, got none"),
    ],
)
def test_other_tables_are_refused_by_line(read, text, message):
    with pytest.raises(StoreError, match=message):
        read(text)
