"""The audit: everything planted is found, nothing else is, and a repaired copy is clean."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_label_turns import scene

from taco_kd.config import PrepareConfig
from taco_kd.data.audit import audit
from taco_kd.data.audit_document import inspect_document, stays_inside
from taco_kd.data.audit_fix import write_fixed
from taco_kd.data.audit_kinds import KINDS
from taco_kd.data.audit_statistics import SIDE_EDGES_PX
from taco_kd.data.coco import read_coco
from taco_kd.data.label_turns import turned
from taco_kd.data.prepare import prepare
from taco_kd.data.records import Annotation
from taco_kd.errors import DataError, UsageError
from taco_kd.report.audit import audit_page
from taco_kd.runs import DataDir

CLEAN: dict[str, Any] = {
    "info": {"year": 2020},
    "images": [
        {"id": 1, "file_name": "a/1.jpg", "width": 100, "height": 50, "licence": 4},
        {"id": 2, "file_name": "2.jpg", "width": 80, "height": 60},
    ],
    "categories": [{"id": 3, "name": "Can"}, {"id": 4, "name": "Cup"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 5, 20, 30],
         "segmentation": [[10, 5, 30, 5, 30, 35]]},
        {"id": 2, "image_id": 1, "category_id": 4, "bbox": [50, 5, 20, 30], "note": "kept"},
        {"id": 3, "image_id": 2, "category_id": 4, "bbox": [0, 0, 80, 60]},
    ],
}  # fmt: skip


def planted(**more: dict[str, Any]) -> dict[str, Any]:
    """CLEAN with an annotation changed (``a``), added (``annotation``), or an image or category added."""
    document = copy.deepcopy(CLEAN)
    for key, value in more.items():
        if key == "a":
            document["annotations"][0] |= value
        elif key == "i":
            document["images"][0] |= value
        else:
            section = {"annotation": "annotations", "image": "images", "category": "categories"}[key]
            document[section].append(value)
    return document


NEW = {"id": 9, "image_id": 1, "category_id": 3, "bbox": [70, 20, 20, 20]}
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "NaN": (planted(a={"bbox": [float("nan"), 1, 2, 3]}), "malformed_entry", "annotation id 1: bbox"),
    "text id": (planted(annotation={**NEW, "id": "nine"}), "malformed_entry", "annotation id 'nine': id"),
    "no object": (planted(annotation=7), "malformed_entry", "annotation 7"),  # type: ignore[arg-type]
    "missing key": (planted(annotation={"id": 9, "image_id": 1}), "malformed_entry", "annotation id 9: "),
    "ids": (planted(annotation={**NEW, "id": 2}), "repeated_annotation_id", "annotation id 2 in a/1.jpg"),
    "image id": (
        planted(image={"id": 2, "file_name": "3.jpg", "width": 5, "height": 5}),
        "repeated_image_id",
        "image id 2 (3.jpg) is used before by 2.jpg",
    ),
    "category id": (planted(category={"id": 3, "name": "Tin"}), "repeated_category_id", "category id 3"),
    "category name": (planted(category={"id": 5, "name": "Cup"}), "repeated_class_name", "'Cup'"),
    "going up": (
        planted(image={"id": 5, "file_name": "../x.jpg", "width": 5, "height": 5}),
        "unsafe_file_name",
        "'../x.jpg'",
    ),
    "listed twice": (
        planted(image={"id": 5, "file_name": "2.jpg", "width": 5, "height": 5}),
        "image_listed_twice",
        "2.jpg is image id 2 too",
    ),
    "image": (planted(annotation={**NEW, "image_id": 8}), "unknown_image", "no image has the id 8"),
    "class": (planted(annotation={**NEW, "category_id": 8}), "unknown_class", "no category has the id 8"),
    "negative": (
        planted(annotation={**NEW, "bbox": [9, 9, -4, 4]}),
        "degenerate_box",
        "[9, 9, -4, 4] has no",
    ),
    "outside": (
        planted(annotation={**NEW, "bbox": [200, 9, 4, 4]}),
        "degenerate_box",
        "no area in the 100x50",
    ),
    "over": (planted(annotation={**NEW, "bbox": [90, 9, 20, 9]}), "box_out_of_bounds", "by 10 px"),
    "twice": (
        planted(annotation={**NEW, "bbox": [10, 5, 20, 30]}),
        "duplicate_box",
        "that of annotation id 1",
    ),
    "two classes": (
        planted(annotation={**NEW, "category_id": 4, "bbox": [10, 5, 20, 30]}),
        "contradicting_boxes",
        "but 'Cup' and not 'Can'",
    ),
    "mask": (
        planted(annotation={**NEW, "segmentation": [[0, 0, 9, 0, 9, 9]]}),
        "mask_box_disagree",
        "polygons lie in [0, 0, 9, 9]",
    ),
    "half a point": (planted(annotation={**NEW, "segmentation": [[0, 0, 9]]}), "unusable_mask", "id 9"),
    "unused": (planted(category={"id": 5, "name": "Jug"}), "unused_class", "'Jug'"),
    "no boxes": (
        planted(image={"id": 5, "file_name": "3.jpg", "width": 5, "height": 5}),
        "image_without_boxes",
        "3.jpg",
    ),
}


def test_a_clean_file_has_no_finding_and_is_not_changed() -> None:
    seen = inspect_document(CLEAN)
    assert seen.found == []
    assert seen.repaired == CLEAN


@pytest.mark.parametrize("case", CASES)
def test_what_is_planted_is_found_named_and_repaired(case: str) -> None:
    document, kind, words = CASES[case]
    before = copy.deepcopy(document)
    seen = inspect_document(document)
    (found,) = [f for f in seen.found if f.kind == kind]
    assert words in found.line
    assert {f.kind for f in seen.found} <= {kind, "unused_class", "image_without_boxes"}
    if kind == "malformed_entry" and case == "NaN":
        before["annotations"][0]["bbox"] = document["annotations"][0]["bbox"]  # NaN is not equal to itself
    assert document == before
    again = inspect_document(seen.repaired)
    left = {f.kind for f in again.found} - {"unused_class", "image_without_boxes"}
    unfixable = {k for k, v in KINDS.items() if v.fix.startswith("none")}
    assert left <= unfixable
    assert seen.repaired["info"] == CLEAN["info"]
    assert seen.repaired["images"][0]["licence"] == 4  # keys that we do not know stay


def test_repairs_change_no_more_than_they_say() -> None:
    document = planted(
        annotation={**NEW, "bbox": [-3, 9, 20, 60], "segmentation": [[-3, 9, 17, 9, 17, 69]], "area": 900}
    )
    kept = inspect_document(document).repaired["annotations"]
    assert kept[:3] == CLEAN["annotations"]
    assert kept[3]["bbox"] == [0, 9, 17, 41]
    assert kept[3]["segmentation"] == [[0, 9, 17, 9, 17, 50]]
    assert kept[3]["area"] == 17 * 41
    twice = planted(annotation={**NEW, "id": 2})
    assert [a["id"] for a in inspect_document(twice).repaired["annotations"]] == [1, 2, 3, 4]
    thrice = planted(annotation={**NEW, "bbox": [10, 5, 20, 30]})
    thrice["annotations"].append({**NEW, "id": 10, "bbox": [10, 5, 20, 30]})
    seen = inspect_document(thrice)
    assert [f.annotation_id for f in seen.found] == [9, 10]
    assert [a["id"] for a in seen.repaired["annotations"]] == [1, 2, 3]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
numbers = st.integers(-2, 4) | values


@given(
    images=st.lists(
        st.fixed_dictionaries({"id": numbers, "file_name": st.sampled_from(["a.jpg", "../b", ""]) | values,
                               "width": st.integers(-1, 60) | values,
                               "height": st.integers(-1, 60) | values}) | values,
        max_size=4,
    ),
    annotations=st.lists(
        st.fixed_dictionaries({"id": numbers, "image_id": numbers, "category_id": numbers,
                               "bbox": st.lists(st.floats(-20, 80) | values, min_size=3, max_size=5) | values,
                               "segmentation": st.lists(st.lists(st.floats(-20, 80), max_size=8)) | values,
                               "iscrowd": numbers}) | values,
        max_size=5,
    ),
    categories=st.lists(
        st.fixed_dictionaries({"id": numbers, "name": st.text(max_size=2) | values}) | values, max_size=3
    ),
)  # fmt: skip
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_anything_can_be_looked_at_and_what_is_repaired_can_be_read(
    images: list[Any], annotations: list[Any], categories: list[Any]
) -> None:
    document = {"images": images, "annotations": annotations, "categories": categories}
    seen = inspect_document(document)
    assert all(found.kind in KINDS and "\n" not in found.line for found in seen.found)
    again = inspect_document(seen.repaired)
    fixable = {kind for kind, entry in KINDS.items() if not entry.fix.startswith("none")}
    assert not {f.kind for f in again.found} & fixable
    assert again.repaired == seen.repaired


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def folder_with(root: Path, document: dict[str, Any]) -> Path:
    """TACO's layout with a picture for each image of ``document``."""
    for image in document["images"]:
        file = root / image["file_name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(image["id"], (image["width"], image["height"])).save(file)
    (root / "annotations.json").write_text(json.dumps(document))
    return root


def coco_of(annotations: tuple[Annotation, ...], image_id: int) -> list[dict[str, Any]]:
    return [
        {
            "id": 10 * image_id + a.id,
            "image_id": image_id,
            "category_id": 1,
            "bbox": list(a.bbox_xywh),
            "segmentation": [list(p) for p in a.segmentation],
        }
        for a in annotations
    ]


def scenes(root: Path, turns: dict[int, int], count: int = 6) -> Path:
    """Scenes with outlines, those of ``turns`` turned by so many degrees."""
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "Thing"}]}
    root.mkdir(parents=True)
    for number in range(count):
        image, annotations = scene(number)
        image.save(root / f"{number}.jpg", quality=95)
        document["images"].append({"id": number, "file_name": f"{number}.jpg", "width": 400, "height": 300})
        wrong = tuple(turned(a, turns.get(number, 0), 400, 300) for a in annotations)
        document["annotations"] += coco_of(wrong, number)
    (root / "annotations.json").write_text(json.dumps(document))
    return root


def test_files_are_compared_with_records(tmp_path: Path) -> None:
    document = copy.deepcopy(CLEAN)
    for number, name in ((5, "gone.jpg"), (6, "cut.jpg"), (7, "odd.jpg"), (8, "half.jpg"), (9, "twin.jpg")):
        document["images"].append({"id": number, "file_name": name, "width": 80, "height": 60})
    root = folder_with(tmp_path / "raw", document)
    (root / "gone.jpg").unlink()
    (root / "cut.jpg").write_bytes((root / "2.jpg").read_bytes()[:500])
    picture(7, (80, 80)).save(root / "odd.jpg")
    picture(8, (40, 30)).save(root / "half.jpg")
    (root / "twin.jpg").write_bytes((root / "2.jpg").read_bytes())
    picture(3, (50, 50)).save(root / "a" / "stray.PNG")
    found = audit(root, size_px=64)
    kinds = {f.kind: f.image for f in found.found if f.kind != "image_without_boxes"}
    assert kinds == {
        "missing_image": "gone.jpg",
        "unreadable_image": "cut.jpg",
        "size_mismatch": "odd.jpg",
        "other_scale": "half.jpg",
        "duplicate_image": "twin.jpg",
        "image_without_record": "a/stray.PNG",
    }
    assert found.parts[0].statistics.boxes == 3
    fixed = write_fixed(found, tmp_path / "fixed.json")
    assert fixed.counts == {"missing_image": 1, "unreadable_image": 1, "size_mismatch": 1}
    raw = read_coco(tmp_path / "fixed.json", root)  # the reader has no complaint left
    assert [i.id for i in raw.images] == [1, 2, 8, 9]
    log = json.loads((tmp_path / "fixed.fixes.json").read_text())
    assert {entry["kind"] for entry in log["fixes"]} == set(fixed.counts)


def test_turned_labels_are_found_drawn_and_turned_back_when_that_is_asked_for(tmp_path: Path) -> None:
    root = scenes(tmp_path / "raw", {1: 180, 4: 90})
    right = scenes(tmp_path / "right", {})
    found = audit(root)
    turns = {f.image: f.values["degrees"] for f in found.found if f.kind == "label_turned" and f.values}
    assert turns == {"1.jpg": 180, "4.jpg": 270}
    page = audit_page(found, tmp_path / "page.html").read_text()
    assert page.count('class="better-turn"') == 6
    assert "http" not in page.replace("http://www.w3.org", "").split("<body>")[1]
    assert write_fixed(found, tmp_path / "kept.json").counts == {}
    fixed = write_fixed(found, tmp_path / "turned.json", turn_labels=True)
    assert fixed.counts == {"label_turned": 2}
    ours = json.loads(fixed.path.read_text())["annotations"]
    for one, other in zip(
        ours, json.loads((right / "annotations.json").read_text())["annotations"], strict=True
    ):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.01)
        assert one["segmentation"][0] == pytest.approx(other["segmentation"][0], abs=0.01)


def test_prepared_dataset_is_audited_and_repaired_into_another(tmp_path: Path) -> None:
    data = prepare(PrepareConfig(root=scenes(tmp_path / "raw", {1: 180}, 8), size=192), tmp_path / "data")
    prepared = {f["image"] for f in data.record()["findings"] if f["kind"] == "label_turned"}
    assert prepared == {"1.jpg"}
    split = next(s for s in ("train", "val") if any(i["id"] == 1 for i in data.coco(s)["images"]))
    coco = data.coco(split)
    coco["annotations"][0]["bbox"] = [-10, 0, 60, 50]
    data.annotations_file(split).write_text(json.dumps(coco))
    found = audit(data.path)
    native = sum(part.statistics.native_by_box.large for part in found.parts)
    resized = [part.statistics.resized_by_box for part in found.parts]
    assert found.parts[0].statistics.size_px == 192
    assert native >= sum(sizes.large for sizes in resized)  # the photos are 400x300
    assert [part.source.name for part in found.parts] == ["train", "val"]
    assert {f.kind for f in found.found} >= {"label_turned", "box_out_of_bounds"}
    assert found.leakage is not None
    fixed = write_fixed(found, tmp_path / "fixed", turn_labels=True)
    new = DataDir.open(fixed.path)
    assert new.content_hash != data.content_hash
    assert new.record()["fixed_from"] == data.content_hash
    assert json.loads(fixed.log.read_text())["source"] == str(data.path)
    assert not {"label_turned", "box_out_of_bounds"} & {f.kind for f in audit(new.path).found}
    assert sum(new.record()["counts"][s]["images"] for s in ("train", "val")) == 8
    with pytest.raises(UsageError, match="is the dataset that was audited"):
        write_fixed(found, data.path, overwrite=True)
    with pytest.raises(UsageError, match="add --overwrite"):
        write_fixed(found, fixed.path)


def test_a_yolo_folder_is_audited_and_repaired_into_a_coco_file(tmp_path: Path) -> None:
    root = tmp_path / "yolo"
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number in range(3):
        picture(number, (100, 50)).save(root / "images" / f"{number}.jpg")
        (root / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.4\n0 0.5 0.5 0.2 0.4\n")
    (root / "data.yaml").write_text("path: .\ntrain: images\nval: images\nnames: [Can, Cup]\n")
    found = audit(root)
    assert found.counts()["duplicate_box"] == 3
    assert found.counts()["unused_class"] == 1
    fixed = write_fixed(found, tmp_path / "fixed.json")
    assert fixed.counts["duplicate_box"] == 3
    assert sum(len(i.annotations) for i in read_coco(fixed.path, root).images) == 3


def test_statistics_before_and_after_the_resize() -> None:
    document = copy.deepcopy(CLEAN)
    document["images"][0] |= {"width": 1000, "height": 500}
    document["annotations"][0] |= {"bbox": [0, 0, 100, 40], "area": 900, "segmentation": None}
    counted = audit_of(document, size_px=100)
    assert dict(counted.per_class) == {"Cup": 2, "Can": 1}
    assert counted.boxes_per_image == ((1, 1), (2, 1))
    by_box, by_mask, after = counted.native_by_box, counted.native_by_mask, counted.resized_by_box
    assert (by_box.small, by_box.medium, by_box.large) == (1, 2, 0)  # 24.5, 63.2 and 69.3 px
    assert (by_mask.small, by_mask.medium, by_mask.large) == (2, 1, 0)
    assert (after.small, after.medium, after.large) == (2, 0, 1)  # 3.5, 8.9 and 100 px
    assert sum(by_box.histogram) == 3
    assert len(by_box.histogram) == len(SIDE_EDGES_PX)


def audit_of(document: dict[str, Any], *, size_px: int) -> Any:
    from taco_kd.data.audit_statistics import statistics

    seen = inspect_document(document)
    return statistics(seen.images, seen.annotations, seen.class_names, size_px=size_px)


@pytest.mark.parametrize(
    ("name", "inside"),
    [("a.jpg", True), ("a/../b.jpg", True), ("../a.jpg", False), ("a/../../b", False), ("/a", False),
     ("C:\\a", False), ("a\\..\\..\\b", False), ("", False), (".", False), ("a\0b", False)],
)  # fmt: skip
def test_names_that_leave_their_folder_are_known(name: str, inside: bool) -> None:
    assert stays_inside(name) == inside


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "a list instead"),
        ("{}", "'images' is not a list"),
        ("", "not valid JSON"),
        ("nul", "not valid JSON"),
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=expected):
        audit(tmp_path / "a.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither a prepared dataset"):
        audit(tmp_path / "empty")
    with pytest.raises(DataError, match="no such file"):
        audit(tmp_path / "none")


def test_as_a_user_types_it(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "raw", planted(annotation={**NEW, "bbox": [90, 9, 20, 9]}))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "taco_kd",
            "audit",
            *map(str, words),
            "--out",
            str(tmp_path / "page"),
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    plain = run(root, "--fix", tmp_path / "fixed.json", "--fail-on", "error")
    assert plain.returncode == 5, plain.stderr
    assert "box that leaves its image" in plain.stdout
    assert "(1 changes, each in" in plain.stdout
    assert (tmp_path / "page/index.html").is_file()
    machine = run(tmp_path / "fixed.json", "--images", root, "--json", "--fail-on", "error")
    assert machine.returncode == 0, machine.stderr
    found = json.loads(machine.stdout)
    assert "box_out_of_bounds" not in found["counts"]
    assert found["parts"][0]["statistics"]["boxes"] == 4
    found_again = audit(root)
    with pytest.raises(UsageError, match="is the file that was audited"):
        write_fixed(found_again, root / "annotations.json", overwrite=True)
    with pytest.raises(UsageError, match=r"a name that ends in \.json"):
        write_fixed(found_again, root / "fixed")


@pytest.mark.shared
def test_official_taco_file(shared: Path) -> None:
    found = audit(shared / "taco_val225/taco_official_annotations.json")
    assert found.counts() == {
        "repeated_annotation_id": 2,
        "box_out_of_bounds": 7,
        "contradicting_boxes": 1,
        "unused_class": 1,
    }
    counted = found.parts[0].statistics
    by_mask, after = counted.native_by_mask, counted.resized_by_box
    assert (by_mask.small, by_mask.medium, by_mask.large) == (715, 1387, 2682)
    assert (after.small, after.medium, after.large) == (2161, 1601, 1022)
