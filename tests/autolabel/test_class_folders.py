"""Reading classification folders, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from taco_kd.autolabel.folders import ClassFolders, Photo, UnreadableImageError
from taco_kd.errors import DataError


def test_classes_and_photos_are_sorted_and_hidden_or_other_files_ignored(make_folders, tmp_path):
    root = make_folders({"paper": 2, "Glass": 1, "empty": 0, ".cache": 3})
    (root / "paper" / "notes.txt").write_text("no image")
    (root / "paper" / "._00.png").write_bytes(b"what macOS leaves")
    (root / "loose.png").write_bytes(b"not in a class folder")
    data = ClassFolders.find(root)
    assert data.classes == ("Glass", "paper")
    assert [p.file_name for p in data.photos] == ["Glass/00.png", "paper/00.png", "paper/01.png"]
    assert [p.label for p in data.photos] == ["Glass", "paper", "paper"]


@pytest.mark.parametrize(
    ("limit", "names"),
    [
        (None, ["00", "01", "02", "03", "04"]),
        (9, ["00", "01", "02", "03", "04"]),
        (2, ["00", "02"]),
        (1, ["00"]),
    ],
)
def test_limit_takes_evenly_spread_photos(make_folders, limit, names):
    data = ClassFolders.find(make_folders({"paper": 5}), per_folder=limit)
    assert [Path(p.file_name).stem for p in data.photos] == names


def test_no_such_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        ClassFolders.find(tmp_path / "nowhere")


def test_photos_without_class_folders_are_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no class folders"):
        ClassFolders.find(tmp_path)


def test_photos_are_turned_upright_and_made_rgb(tmp_path):
    (tmp_path / "paper").mkdir()
    turned = Image.new("L", (40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    turned.save(tmp_path / "paper" / "a.jpg", exif=exif)
    data = ClassFolders.find(tmp_path)
    photo = data.read(data.photos[0])
    assert photo.size == (20, 40)
    assert photo.mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 cut"])
def test_broken_bytes_are_an_unreadable_image(tmp_path, content):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: cannot be decoded"):
        ClassFolders.find(tmp_path).read(Photo("paper/a.jpg", "paper"))


def test_a_photo_cut_off_in_the_middle_is_unreadable(tmp_path):
    (tmp_path / "paper").mkdir()
    whole = tmp_path / "paper" / "a.jpg"
    Image.effect_noise((200, 200), 90).save(whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(UnreadableImageError, match="truncated"):
        ClassFolders.find(tmp_path).read(Photo("paper/a.jpg", "paper"))
