"""``taco-kd evaluate`` as a user types it: results of other tools, pages, and one line for each mistake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taco_kd.models import zoo

IMAGES = 6


def truth() -> dict[str, Any]:
    return {
        "images": [
            {
                "id": 10 * i,
                "file_name": f"{i}.jpg",
                "width": 320,
                "height": 240,
                "original_width": 1280,
                "original_height": 960,
            }
            for i in range(IMAGES)
        ],
        "categories": [{"id": 4, "name": "can"}, {"id": 2, "name": "<b>cup</b>"}],
        "annotations": [
            {
                "id": i,
                "image_id": 10 * i,
                "category_id": (4, 2)[i % 2],
                "bbox": [120.0, 90.0, 60.0, 50.0],
                "area": 3000.0,
                "iscrowd": 0,
            }
            for i in range(IMAGES)
        ],
    }


def results() -> list[dict[str, Any]]:
    rows = [
        {
            "image_id": box["image_id"],
            "category_id": box["category_id"],
            "bbox": [122.0, 91.0, 60.0, 49.0],
            "score": round(0.9 - 0.05 * n, 3),
        }
        for n, box in enumerate(truth()["annotations"])
    ]
    return [*rows, {"image_id": 0, "category_id": 4, "bbox": [10.0, 10.0, 40.0, 30.0], "score": 0.35}]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found, annotations = tmp_path / "found.json", tmp_path / "gt.json"
    found.write_text(json.dumps(results()))
    annotations.write_text(json.dumps(truth()))
    return found, annotations


def test_results_of_any_tool(run: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path) -> None:
    found, annotations = files
    said = run("evaluate", found, "--annotations", annotations)
    assert said.code == 0, said.err
    assert "found.json" in said.out
    assert "100.0" in said.out  # AP50
    assert "S, M, L by area in 320x240 pixels of the prepared image" in said.out
    assert "best F1 1.000" in said.out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["found.json", "gt.json"]


def test_json_says_everything(run: Callable[..., Any], files: tuple[Path, Path]) -> None:
    found, annotations = files
    said = run(
        "evaluate", found, "--annotations", annotations, "--json", "--areas", "original", "--confidence", 0.3
    )
    value = json.loads(said.out)[str(found)]
    assert value["ap50"] == pytest.approx(1)
    assert value["area_space"] == "pixels of the original photos"
    assert value["ap_large"] is not None  # 3,000 pixels here are 48,000 of the photo
    assert value["ap_medium"] is None
    assert [c["name"] for c in value["per_class"]] == ["can", "<b>cup</b>"]
    analysis = value["analysis"]
    assert analysis["confidence"] == 0.3
    assert analysis["confusion"]["counts"] == [[3, 0, 0], [0, 3, 0], [1, 0, 0]]
    assert {e["kind"]: e["shown"] for e in analysis["errors"]}["background"] == 1
    assert analysis["calibration"]["detections"] == IMAGES + 1
    assert len(analysis["classes"][0]["recall_curves"]["iou50"]) == 101
    resized = run("evaluate", found, "--annotations", annotations, "--json")
    assert json.loads(resized.out)[str(found)]["ap_medium"] is not None


def test_page(run: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path) -> None:
    from PIL import Image

    found, annotations = files
    for i in range(IMAGES):
        Image.new("RGB", (320, 240), (40 * i, 90, 20)).save(tmp_path / f"{i}.jpg")
    options = ("--images", tmp_path, "--report", "page", "--confidence", 0.3)
    said = run("evaluate", found, "--annotations", annotations, *options)
    assert said.code == 0, said.err
    assert said.out.strip().endswith(f"Page: {Path('page') / 'index.html'}")
    html = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    for words in (
        "found",
        "What goes wrong",
        "Calibration",
        "Confusion matrix",
        "background 1",
        "data:image/jpeg",
    ):
        assert words in html, words
    assert "<b>cup</b>" not in html
    assert "&lt;b&gt;cup" in html
    for outside in ("http://", "https://"):
        assert not [w for w in html.split(outside)[1:] if not w.startswith("www.w3.org")]
    record = json.loads((tmp_path / "page" / "analysis.json").read_text())
    assert record["ap50"] == pytest.approx(1)
    run("evaluate", found, "--annotations", annotations, "--out", "right")
    assert "no image has an error at this confidence" in (tmp_path / "right" / "index.html").read_text()
    run("evaluate", found, "--annotations", annotations, "--out", "bare", "--confidence", 0.3)
    assert "no folder of images was given (--images)" in (tmp_path / "bare" / "index.html").read_text()


def moved(**change: Any) -> list[dict[str, Any]]:
    rows = results()
    rows[2] |= change
    return rows


def boxes(convert: Callable[..., list[float]]) -> list[dict[str, Any]]:
    return [row | {"bbox": convert(*row["bbox"])} for row in results()]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "an empty list: there is nothing to evaluate"),
        ({"a": 1}, "a dictionary with a and no list of annotations"),
        (moved(score=float("nan")), "2.score = nan"),
        (moved(score=float("inf")), "2.score = inf"),
        (moved(image_id=99), "2: image_id = 99: the ground truth has no such image"),
        (moved(category_id=3), "2: category_id = 3: the ground truth has 2 categories, 2 to 4"),
        (moved(category_id="can"), "2.category_id = 'can' is the name of a class; write its id (4)"),
        (moved(bbox=[1, 2, 3]), "2.bbox.3 is missing"),
        (boxes(lambda x, y, w, h: [x, y, x + w, y + h]), "boxes look like [x1, y1, x2, y2]"),
        (boxes(lambda x, y, w, h: [x / 320, y / 240, w / 320, h / 240]), "look like fractions of the image"),
        (boxes(lambda x, y, w, h: [4 * x, 4 * y, 4 * w, 4 * h]), "look like pixels of the original photos"),
        ([*results(), results()[0]], "7: the same image, class, box and score as row 0"),
        ([row | {"image_id": row["image_id"] + 7} for row in results()], "results on other images"),
        ([1, 2], "0: holds a number"),
    ],
)
def test_bad_results_are_one_line_and_exit_code_3(
    run: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path, rows: Any, says: str
) -> None:
    found, annotations = files
    found.write_text(json.dumps(rows))  # writes NaN and Infinity as other tools do
    said = run("evaluate", found, "--annotations", annotations, "--out", "page")
    assert said.code == 3
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert line.startswith(f"taco-kd: {found}: ")
    assert says in line
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["found.json"], 2, "a results file needs the ground truth: --annotations gt.json, or --data DIR"),
        (["found.json", "--annotations", "none.json"], 3, "none.json: no such file"),
        (
            ["found.json", "--annotations", "found.json"],
            3,
            "found.json: holds a list; --annotations takes a COCO",
        ),
        (["gt.json", "--annotations", "gt.json"], 3, "this looks like a ground truth"),
        (["none.json", "--annotations", "gt.json"], 3, "none.json: no such file"),
        (["found.json", "--annotations", "gt.json", "--areas", "native"], 2, "unknown areas 'native'"),
        (["found.json", "--annotations", "gt.json", "--confidence", "nan"], 2, "confidence = nan"),
        (["found.json", "--data", "nowhere"], 3, "nowhere: not a prepared dataset"),
        (["found.json", "--annotations", "gt.json", "--class-map", "no.csv"], 3, "no.csv: no such file"),
        (["owner/detr"], 4, "no such file or run folder here, and on the hub: owner/detr: is not"),
        (["yolo.onnx"], 4, "yolo.onnx: no such detector file"),
        (["weights.safetensors"], 4, "weights.safetensors: no such weights file"),
        (["nowhere"], 3, "nowhere: not a run folder"),
    ],
)
@pytest.mark.usefixtures("files")
def test_mistakes(run: Callable[..., Any], words: list[str], code: int, says: str) -> None:
    said = run("evaluate", *words)
    assert said.code == code, said.err
    assert said.out == ""
    assert says in said.err.strip().splitlines()[-1]
    assert "Traceback" not in said.err


def test_original_areas_need_original_sizes(run: Callable[..., Any], files: tuple[Path, Path]) -> None:
    found, annotations = files
    bare = truth()
    for image in bare["images"]:
        del image["original_width"]
    annotations.write_text(json.dumps(bare))
    said = run("evaluate", found, "--annotations", annotations, "--areas", "original")
    assert said.code == 3
    assert "use --areas resized" in said.err


def test_repeated_rows_can_be_left_out(run: Callable[..., Any], files: tuple[Path, Path]) -> None:
    found, annotations = files
    found.write_text(json.dumps([*results(), *results()]))
    said = run("evaluate", found, "--annotations", annotations, "--drop-duplicates", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)[str(found)]["ap50"] == pytest.approx(1)


def test_weights_of_ours_on_a_dataset(run: Callable[..., Any], small_data: Any, tmp_path: Path) -> None:
    weights = shutil.copy(zoo.packaged_file(zoo.find("conditional-detr-nano")), tmp_path / "nano.safetensors")
    said = run("evaluate", weights, "--data", small_data.path, "--device", "cpu")
    assert said.code == 0, said.err
    assert "nano knows" in said.err
    folder = tmp_path / "taco-kd-out" / "evaluate" / "nano"
    assert sorted(file.name for file in folder.iterdir()) == [
        "analysis.json",
        "evaluation.json",
        "index.html",
        "predictions.json",
    ]
    assert "data:image/jpeg" in (folder / "index.html").read_text(encoding="utf-8")
    # Its own detections, read back as any tool's results, score the same.
    again = run("evaluate", weights, folder / "predictions.json", "--data", small_data.path, "--json")
    assert again.code == 0, again.err
    assert "detections taken from" in again.err
    by_model, by_file = json.loads(again.out).values()
    assert by_model["ap"] == by_file["ap"] > 0.02
    assert by_model["classes"]["known"]
    assert by_file["classes"] is None


def finished_run(folder: Path, data: Any) -> Path:
    """A run as ``taco-kd train`` leaves it, with the packaged weights as its result."""
    folder.mkdir(parents=True)
    shutil.copy(zoo.packaged_file(zoo.find("conditional-detr-nano")), folder / "model.safetensors")
    record = {
        "status": "finished",
        "final_hash": "00" * 32,
        "data": {"path": str(data.path), "content_hash": data.content_hash},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def test_a_run_on_its_own_data_and_on_other(run: Callable[..., Any], small_data: Any, tmp_path: Path) -> None:
    from taco_kd.config import PrepareConfig
    from taco_kd.data.prepare import prepare

    folder = finished_run(tmp_path / "runs" / "a", small_data)
    said = run("evaluate", folder, "--json")
    assert said.code == 0, said.err
    own = json.loads(said.out)[str(folder)]
    kept = json.loads((folder / "metrics" / "val.json").read_text())
    assert kept["metrics"]["ap"] == own["ap"] > 0.02
    assert kept["key"]["evaluator"] == own["evaluator"]
    assert not (tmp_path / "taco-kd-out").exists()

    config = PrepareConfig(source="synthetic", scenes=16, size=192, seed=5, workers=1, train_ratio=0.5)
    other = prepare(config, tmp_path / "other")
    said = run("evaluate", folder, "--data", other.path, "--report", "page")
    assert said.code == 0, said.err
    # The folder of the run keeps what was measured on its own data.
    assert json.loads((folder / "metrics" / "val.json").read_text()) == kept
    assert "8 images" in said.out
    assert "data:image/jpeg" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


def test_several_models_get_a_page_each(
    run: Callable[..., Any], files: tuple[Path, Path], tmp_path: Path
) -> None:
    found, annotations = files
    other = shutil.copy(found, tmp_path / "other.json")
    again = tmp_path / "again" / "found.json"
    again.parent.mkdir()
    shutil.copy(found, again)
    said = run("evaluate", found, other, again, "--annotations", annotations, "--out", "pages")
    assert said.code == 0, said.err
    pages = sorted(str(page.parent.name) for page in (tmp_path / "pages").glob("*/index.html"))
    assert pages == ["1-found", "3-found", "other"]
