"""Which files of a folder are read, which are named, and which are nobody's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, features

from effpath.errors import InputError
from effpath.images import PictureFormat, load_images

SMALL = PictureFormat(3, 4, 4)
SYSTEMS_OWN = (
    "._x.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/x-checkpoint.png",
    "@eaDir/x.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/x.png", ".git/x.png",
)  # fmt: skip


def put(file, value=7):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value,) * 3).save(file, format=None if file.suffix else "PNG")


def names(folder):
    left_out = []
    found = load_images([folder], SMALL, left_out=left_out)[1]
    return [name.removeprefix(f"{folder}/") for name in found], [
        str(file.relative_to(folder)) for file in left_out
    ]


@pytest.mark.parametrize(
    "ending", ["png", "PNG", "jpg", "jfif", "webp", "bmp", "tif", "gif", "ppm", "pgm", "jp2", "tga"]
)
def test_pictures_of_every_usual_ending_are_read(tmp_path, ending):
    put(tmp_path / f"a.{ending}")
    images, found = load_images([tmp_path], SMALL)
    assert found == [f"{tmp_path}/a.{ending}"]
    torch.testing.assert_close(images[:], torch.full((1, 3, 4, 4), 7 / 255), atol=2 / 255, rtol=0)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read_where_pillow_reads_it(tmp_path):
    put(tmp_path / "a.avif")
    assert names(tmp_path) == (["a.avif"], [])


def test_a_picture_without_an_ending_or_with_another_is_known_by_its_content(tmp_path):
    put(tmp_path / "photo")
    put(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.upload")
    assert names(tmp_path) == (["b.upload", "photo"], [])


def test_files_that_are_no_pictures_are_named(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/notes.txt").write_text("no picture")
    (tmp_path / "empty").touch()
    (tmp_path / "movie.mp4").write_bytes(b"\0\0\0 ftypisom" + bytes(100))
    np.save(tmp_path / "array.npy", np.zeros(3))
    assert names(tmp_path) == (["a.png"], ["array.npy", "deep/notes.txt", "empty", "movie.mp4"])


@pytest.mark.parametrize("name", SYSTEMS_OWN)
def test_what_systems_put_into_folders_is_neither_read_nor_named(tmp_path, name):
    put(tmp_path / "a.png")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
    assert names(tmp_path) == (["a.png"], [])


def test_links_are_followed_and_one_that_leads_nowhere_is_named(tmp_path):
    put(tmp_path / "elsewhere/x/1.png")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").symlink_to(tmp_path / "elsewhere/x/1.png")
    (inside / "folder").symlink_to(tmp_path / "elsewhere")
    (inside / "lost.png").symlink_to(tmp_path / "gone.png")
    (inside / "circle").symlink_to(inside)
    assert names(inside) == (["file", "folder/x/1.png"], ["lost.png"])


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / ".hidden.png").touch()
    with pytest.raises(InputError, match=r"no pictures \(\.png, .*in the folder"):
        load_images([tmp_path], SMALL)
    with pytest.raises(InputError, match="got none in no file"):
        load_images([], SMALL)
