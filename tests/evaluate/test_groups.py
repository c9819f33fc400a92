"""Groups of images by key, by folder and by file; what cannot be grouped gets one clear line."""

import json
from pathlib import Path
from typing import Any

import pytest

from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.groups import group_images


def truth(*images: dict[str, Any]) -> dict[str, Any]:
    return {"images": [{"id": i} | image for i, image in enumerate(images)]}


BY_NAME = truth(
    {"file_name": "a.jpg", "original_file_name": "batch_1/0.jpg"},
    {"file_name": "b.jpg", "original_file_name": "batch_2/0.jpg"},
    {"file_name": "c.jpg", "original_file_name": "batch_1/1.jpg"},
)


def test_by_a_key_of_the_images() -> None:
    found = group_images(truth({"scene": "x"}, {"scene": "y"}, {"scene": "x"}, {"scene": 3}), "scene")
    assert found.of_image.tolist() == [0, 1, 0, 2]
    assert (found.number, found.source) == (3, "scene")


def test_by_the_folder_of_the_original_file() -> None:
    assert group_images(BY_NAME, "batch").of_image.tolist() == [0, 1, 0]
    windows = truth({"file_name": "data\\batch_1\\x.jpg"}, {"file_name": "data\\batch_2\\x.jpg"})
    assert group_images(windows, "batch").of_image.tolist() == [0, 1]


def test_images_are_taken_by_ascending_id() -> None:
    images = {"images": [{"id": 7, "scene": "x"}, {"id": 1, "scene": "y"}, {"id": 5, "scene": "x"}]}
    assert group_images(images, "scene").of_image.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("g.json", '{"0": "p", "1": "q", "2": "p"}'),
        ("g.json", '{"p": [0, "batch_1/1.jpg"], "q": ["b.jpg"]}'),
        ("g.json", '{"a.jpg": 1, "b.jpg": 2, "batch_1/1.jpg": 1}'),
        ("g.csv", "0,p\n1,q\nc.jpg,p\n"),
        ("g.csv", "image,scene\n0, p\n\n1, q\n2, p\n"),
    ],
)
def test_by_a_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert group_images(BY_NAME, str(tmp_path / name)).of_image.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("by", "error", "message"),
    [
        ("nothing", UsageError, "--group-by nothing: not a key of the image records (none), and no folder"),
        ("file_name_not", UsageError, "file name 'batch_1/0.jpg'"),
        ("gone.csv", DataError, "gone.csv: no such file"),
        ("gone.json", DataError, "gone.json: no such file"),
        ("list.json", DataError, "list.json: not a dictionary"),
        ("lacks.json", DataError, "lacks.json: no group for image 1 (batch_2/0.jpg)"),
        ("wide.csv", DataError, "wide.csv: line 2: 3 columns"),
        ("one.json", DataError, "all 3 images are in one group (p)"),
        ("odd.json", DataError, "must be a name or a number"),
    ],
)
def test_refusals(
    by: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"list.json": [1], "lacks.json": {"0": "p", "2": "q"}, "one.json": {"p": [0, 1, 2]}}
    files["odd.json"] = {"0": {"x": 1}, "1": "a", "2": "b"}
    for name, value in files.items():
        Path(name).write_text(json.dumps(value))
    Path("wide.csv").write_text("0,p\n1,q,r\n")
    with pytest.raises(error) as caught:
        group_images(BY_NAME, by)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_some_images_lack() -> None:
    with pytest.raises(DataError, match="image 1 has no 'scene', which others have"):
        group_images(truth({"scene": 1}, {}), "scene")
