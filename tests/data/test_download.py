"""Fetching images from a host that misbehaves, and unpacking zips that mean harm."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from photo_server import PhotoHost, photo_host
from PIL import Image

from taco_kd.data.download import Downloaded, download, read_manifest
from taco_kd.data.fetch import FetchOptions
from taco_kd.data.unpack import unpack
from taco_kd.errors import DataError, UsageError

QUICK = FetchOptions(attempts=3, timeout_s=0.4, backoff_s=0.01)


@pytest.fixture
def host() -> Iterator[PhotoHost]:
    with photo_host() as started:
        yield started


def jpeg(seed: int, size: tuple[int, int] = (240, 160)) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def album(host: PhotoHost, folder: Path, count: int = 12) -> Path:
    """An annotation file of ``count`` photos on ``host``: /o/K.jpg and, for the even ones, /z/K.jpg."""
    images = []
    for k in range(count):
        host.files[f"/o/{k}.jpg"] = jpeg(k)
        host.files[f"/z/{k}.jpg"] = jpeg(k, (120, 80))
        small = f"{host.url}/z/{k}.jpg" if k % 2 == 0 else None
        images.append(
            {
                "id": k,
                "file_name": f"batch_{1 + k % 3}/{k:06d}.JPG",
                "width": 240,
                "height": 160,
                "flickr_url": f"{host.url}/o/{k}.jpg",
                "flickr_640_url": small,
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "official.json"
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return file


def photos(out: Path) -> dict[str, bytes]:
    return {f.relative_to(out).as_posix(): f.read_bytes() for f in sorted(out.rglob("*.JPG"))}


def get(file: Path, out: Path, **changes: object) -> Downloaded:
    return download(file, out, jobs=4, options=QUICK, **changes)  # type: ignore[arg-type]


def test_everything_comes_and_a_second_run_asks_for_nothing(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path)
    done = get(file, tmp_path / "out")
    assert (done.fetched, done.present, done.failed) == (12, 0, {})
    assert set(photos(tmp_path / "out").values()) == {host.files[f"/o/{k}.jpg"] for k in range(12)}
    assert (tmp_path / "out/annotations.json").read_bytes() == file.read_bytes()
    entry = read_manifest(tmp_path / "out")["batch_1/000000.JPG"]
    assert entry["url"] == f"{host.url}/o/0.jpg"
    assert entry["size_bytes"] == len(host.files["/o/0.jpg"])
    host.requests.clear()
    again = get(file, tmp_path / "out")
    assert (again.fetched, again.present, host.requests) == (0, 12, [])


def test_a_host_that_does_everything_wrong_loses_nothing(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path)
    for k, words in enumerate(
        (
            ["drop"],
            ["stall"],
            ["short"],
            ["500", "500"],
            ["429"],
            ["html"],
            ["drop", "drop"],
            ["drop", "restart"],
        )
    ):
        host.mischief[f"/o/{k}.jpg"] = list(words)
    host.always["/o/8.jpg"] = "404"  # an even one: the small picture is there
    host.always["/o/9.jpg"] = "404"  # an odd one: there is no other address
    host.always["/o/10.jpg"] = "moved"
    host.always["/o/11.jpg"] = "drop"
    done = get(file, tmp_path / "out")
    assert set(done.failed) == {"batch_1/000009.JPG", "batch_3/000011.JPG"}
    assert "HTTP 404" in done.failed["batch_1/000009.JPG"][0]
    got = photos(tmp_path / "out")
    for k in range(8):
        assert got[f"batch_{1 + k % 3}/{k:06d}.JPG"] == host.files[f"/o/{k}.jpg"], k
    for k in (8, 10):
        assert got[f"batch_{1 + k % 3}/{k:06d}.JPG"] == host.files[f"/z/{k}.jpg"], k
    rows = json.loads(done.failed_file.read_text())
    assert [row["image_id"] for row in rows] == [9, 11]

    host.always.clear()
    again = get(file, tmp_path / "out")
    assert (again.fetched, again.present, again.failed) == (2, 10, {})
    assert len(photos(tmp_path / "out")) == 12
    assert json.loads(done.failed_file.read_text()) == []
    assert not list((tmp_path / "out").rglob("*.part*"))


def test_the_next_run_goes_on_in_the_middle_of_a_file(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path, count=1)
    host.mischief["/o/0.jpg"] = ["drop"]
    host.always["/z/0.jpg"] = "404"
    once = FetchOptions(attempts=1, timeout_s=0.4)
    assert download(file, tmp_path / "out", options=once).failed
    half = len(host.files["/o/0.jpg"]) // 2
    assert next((tmp_path / "out").rglob("*.part")).stat().st_size == half
    assert get(file, tmp_path / "out").fetched == 1
    assert host.requests[-1] == ("/o/0.jpg", f"bytes={half}-")
    assert host.sent_bytes == len(host.files["/o/0.jpg"])  # not a byte twice


@pytest.mark.parametrize("change", ["another file", "no validator"])
def test_a_part_of_another_version_is_not_continued(host: PhotoHost, tmp_path: Path, change: str) -> None:
    file = album(host, tmp_path, count=1)
    host.etags = change != "no validator"
    host.mischief["/o/0.jpg"] = ["drop"]
    host.always["/z/0.jpg"] = "404"
    download(file, tmp_path / "out", options=FetchOptions(attempts=1, timeout_s=0.4))
    if change == "another file":
        host.files["/o/0.jpg"] = jpeg(77)
    assert get(file, tmp_path / "out").fetched == 1
    assert photos(tmp_path / "out") == {"batch_1/000000.JPG": host.files["/o/0.jpg"]}


def test_pixels_of_another_shape_are_not_the_image(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path, count=2)
    host.files["/o/1.jpg"] = jpeg(1, (160, 160))
    done = get(file, tmp_path / "out")
    assert done.failed["batch_2/000001.JPG"][0].endswith(
        "160x160 pixels, but the annotation file says 240x160 (2 attempts)"
    )


def test_damaged_files_are_fetched_again(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path, count=3)
    get(file, tmp_path / "out")
    (tmp_path / "out/batch_1/000000.JPG").write_bytes(b"half")
    (tmp_path / "out/batch_2/000001.JPG").unlink()
    with (tmp_path / "out/manifest.jsonl").open("a") as stream:
        stream.write('{"file_name": "batch_3/0')  # a crash in the middle of a line
    done = get(file, tmp_path / "out")
    assert (done.fetched, done.present) == (2, 1)
    assert get(file, tmp_path / "out").present == 3


def test_small_pictures_first_and_a_limit(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path)
    get(file, tmp_path / "out", small=True, limit=2)
    assert {path for path, _ in host.requests} == {"/z/0.jpg", "/o/1.jpg"}


def test_ctrl_c_stops_at_once_and_nothing_half_is_kept_for_whole(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path)

    def stop(done: int, total: int, note: str = "") -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(file, tmp_path / "out", on_progress=stop)
    whole = set(host.files.values())
    assert all(content in whole for content in photos(tmp_path / "out").values())
    assert get(file, tmp_path / "out").failed == {}
    assert len(photos(tmp_path / "out")) == 12


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"file_name": "../up.jpg"}, "does not stay in the folder"),
        ({"flickr_url": None, "flickr_640_url": ""}, "image id 0: no address"),
        ({"width": "240"}, "no whole width"),
    ],
)
def test_records_that_cannot_be_fetched_are_named(
    host: PhotoHost, tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    file = album(host, tmp_path, count=1)
    document = json.loads(file.read_text())
    document["images"][0] |= change
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match=expected):
        get(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_annotation_file_is_not_replaced(host: PhotoHost, tmp_path: Path) -> None:
    get(album(host, tmp_path, count=1), tmp_path / "out")
    with pytest.raises(UsageError, match="belongs to another annotation file"):
        get(album(host, tmp_path / "b", count=2), tmp_path / "out")


def test_addresses_that_are_none_fail_without_asking(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path, count=1)
    document = json.loads(file.read_text())
    document["images"][0] |= {"flickr_url": "ftp://nowhere/x.jpg", "flickr_640_url": "http://[bad"}
    file.write_text(json.dumps(document))
    done = get(file, tmp_path / "out")
    assert len(done.failed["batch_1/000000.JPG"]) == 2


def test_as_a_user_types_it(host: PhotoHost, tmp_path: Path) -> None:
    file = album(host, tmp_path, count=4)
    host.always["/o/1.jpg"] = "410"
    command = [
        sys.executable,
        "-m",
        "taco_kd",
        "download",
        "taco",
        "--annotations",
        file,
        "--out",
        tmp_path / "t",
    ]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 1
    assert "3 images fetched, 0 there already, 1 failed" in first.stdout
    assert "failed.json; run the same command again" in first.stderr.splitlines()[-1]
    host.always.clear()
    second = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout) == {"out": str(tmp_path / "t"), "fetched": 1, "present": 3, "failed": {}}


def zip_of(path: Path, entries: dict[str, bytes], *, link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return path


GOOD = {
    "TACO/data/annotations.json": b"{}",
    "TACO/data/batch_1/000001.jpg": jpeg(1),
    "TACO/data/batch_1/run.sh": b"rm",
    "TACO/readme.md": b"hello",
    "__MACOSX/TACO/data/._annotations.json": b"x",
}


def test_zip_is_unpacked_from_where_its_annotations_lie(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "t.zip", GOOD)
    done = unpack(archive, tmp_path / "out")
    assert (done.unpacked, done.left_out) == (2, 3)
    assert (tmp_path / "out/batch_1/000001.jpg").read_bytes() == jpeg(1)
    assert (tmp_path / "out/annotations.json").is_file()
    (tmp_path / "out/batch_1/000001.jpg").write_bytes(b"cut")
    again = unpack(archive, tmp_path / "out")
    assert (again.unpacked, again.present) == (1, 1)


@pytest.mark.parametrize(
    ("entries", "link", "expected"),
    [
        ({**GOOD, "TACO/data/../../../evil.jpg": b"x"}, "", "would leave the folder"),
        ({**GOOD, "/etc/evil.jpg": b"x"}, "", "would leave the folder"),
        ({**GOOD, "TACO\\..\\..\\evil.jpg": b"x"}, "", "would leave the folder"),
        (GOOD, "TACO/data/batch_1/link.jpg", "is a link"),
        ({**GOOD, "TACO/data/bomb.json": b"0" * 3_000_000}, "", "grows 100 times"),
        ({"a.jpg": b"x"}, "", "holds no annotations.json"),
    ],
)
def test_zip_that_means_harm_is_refused_whole(
    tmp_path: Path, entries: dict[str, bytes], link: str, expected: str
) -> None:
    archive = zip_of(tmp_path / "t.zip", entries, link=link)
    with pytest.raises(DataError, match=expected):
        unpack(archive, tmp_path / "out" / "deep")
    assert [p.name for p in tmp_path.iterdir()] == ["t.zip"]


def test_damaged_zip_is_said_to_be_so_and_can_be_gone_on_with(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "t.zip", GOOD)
    whole = archive.read_bytes()
    place = whole.index(jpeg(1)[20:40]) if jpeg(1)[20:40] in whole else 400
    archive.write_bytes(whole[:place] + b"\0\0\0\0\0\0\0\0" + whole[place + 8 :])
    with pytest.raises(DataError, match="not a zip that can be unpacked"):
        unpack(archive, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.jpg"))
    archive.write_bytes(whole)
    assert unpack(archive, tmp_path / "out").unpacked >= 1
    for content in (b"", b"PK", whole[: len(whole) // 2]):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(DataError, match="not a zip"):
            unpack(tmp_path / "x.zip", tmp_path / "other")
    with pytest.raises(DataError, match="no such file"):
        unpack(tmp_path / "none.zip", tmp_path / "other")
