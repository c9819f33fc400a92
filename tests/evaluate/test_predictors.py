"""Every kind of model through one Predictor, and the classes it is read with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from foreign_models import save_as_transformers
from PIL import Image

from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.evaluate.classes import match_classes, read_class_map
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.evaluation import Options, evaluate_source
from taco_kd.evaluate.predict import MAX_DETECTIONS, BoxPredictor, ModelPredictor, predict
from taco_kd.evaluate.predictors import fingerprint, open_predictor
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.models.hf_pretrained import HFFolderDetector
from taco_kd.runs import DataDir
from taco_kd.types import Detections


@pytest.fixture(scope="module")
def nano() -> Detector:
    return zoo.load(zoo.packaged_file(zoo.find("conditional-detr-nano")))


@pytest.fixture(scope="module")
def transformers_folder(nano: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_as_transformers(nano, tmp_path_factory.mktemp("hf") / "detr")


DATASET = {7: "Clear plastic bottle", 3: "Drink can", 9: "Paper cup"}


def test_classes_are_matched_by_name_whatever_the_spelling() -> None:
    found = match_classes(["person", "drink_can", "PAPER-CUP"], DATASET)
    assert found.categories == (None, 3, 9)
    assert found.known == ("Drink can", "Paper cup")
    assert found.unknown == ("Clear plastic bottle",)
    assert found.left_out == ("person",)
    assert found.line("yolo") == (
        "yolo knows 2 of the dataset's 3 classes: drink_can as Drink can, PAPER-CUP as Paper cup; "
        "left out: its other 1 class; counted as 0 in AP: the other 1 class of the dataset"
    )


def test_a_class_map_goes_before_names() -> None:
    renamed = {"bottle": "clear plastic bottle", "cup": "Paper cup", "Drink can": "Paper cup"}
    found = match_classes(["bottle", "cup", "Drink can"], DATASET, renamed=renamed)
    assert found.categories == (7, 9, 9)  # several of its classes may be one of the dataset
    with pytest.raises(DataError, match=r"'bottel' is no class of yolo \(bottle, cup\)"):
        match_classes(["bottle", "cup"], DATASET, renamed={"bottel": "Paper cup"}, name="yolo")
    with pytest.raises(DataError, match="'Pot' is no class of the dataset"):
        match_classes(["bottle", "cup"], DATASET, renamed={"bottle": "Pot"})


def test_no_class_in_common() -> None:
    with pytest.raises(
        DataError, match=r"yolo: none of its 7 classes \(a, b, c, d, e, \.\.\.\) is a class.*--class-map"
    ):
        match_classes(list("abcdefg"), DATASET, name="yolo")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no line 'detector,dataset'"),
        ("detector,dataset\n", "has no line"),
        ("bottle\n", "line 1: 'bottle': two names are needed"),
        ("bottle,a,b\n", "line 1: 'bottle,a,b': two names"),
        ("bottle,\n", "line 1"),
        ("a,b\na,c\n", "line 2: 'a' is there twice"),
    ],
)
def test_bad_class_maps(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_class_map(tmp_path / "map.csv")
    assert message in str(caught.value)


def test_class_map_file(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text('detector,dataset\n# comment\n\nbottle, Clear plastic bottle\n"cup, paper",Paper cup\n')
    assert read_class_map(path) == {"bottle": "Clear plastic bottle", "cup, paper": "Paper cup"}
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        read_class_map(tmp_path / "none.csv")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read as CSV"):
        read_class_map(path)


class Lamp:
    """A ``BoxDetector`` that finds more boxes than count, of a known and of an unknown class."""

    name, class_names = "lamp", ("bottle", "nothing")

    def detect(self, image: Image.Image) -> Detections:
        count = 2 * MAX_DETECTIONS
        corner = torch.arange(count).float().remainder(image.width - 10)
        boxes = torch.stack([corner, corner, corner + 5, corner + 3], dim=1)
        return Detections(boxes, torch.linspace(0.1, 0.9, count), torch.arange(count) % 3 // 2)


def test_a_detector_of_single_pictures(small_data: DataDir) -> None:
    images = small_data.coco("val")["images"]
    ticks: list[tuple[int, int]] = []
    rows = BoxPredictor(Lamp()).predict(
        small_data, "val", [5, None], on_progress=lambda done, total, note="": ticks.append((done, total))
    )
    assert len(rows) == MAX_DETECTIONS * len(images)
    assert {row["category_id"] for row in rows} == {5}
    assert min(row["score"] for row in rows) > 0.25  # the best of the known class, not of all
    assert [rows[0]["bbox"][2:], rows[0]["image_id"]] == [[5.0, 3.0], images[0]["id"]]
    assert ticks[-1] == (len(images), len(images))


def test_an_image_that_is_gone(small_data: DataDir, tmp_path: Path) -> None:
    data = DataDir(shutil.copytree(small_data.path, tmp_path / "data"))
    data.image_file("val", data.coco("val")["images"][0]["file_name"]).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cannot be decoded.*run taco-kd prepare again"):
        BoxPredictor(Lamp()).predict(data, "val", [5, None])


def test_our_model_by_predictor_and_by_function(nano: Detector, small_data: DataDir) -> None:
    ids = {c["name"]: c["id"] for c in small_data.coco("val")["categories"]}
    categories = [ids.get(name) for name in nano.class_names]
    assert ModelPredictor(nano, "nano").predict(small_data, "val", categories) == predict(
        nano, small_data, "val"
    )


@pytest.mark.parametrize("name", ["conditional-detr-nano", "rtdetr-nano"])
def test_the_same_weights_as_a_transformers_folder(name: str, small_data: DataDir, tmp_path: Path) -> None:
    """Saved by save_pretrained and run through its image processor, a model scores what it scored as ours."""
    model = zoo.load(zoo.packaged_file(zoo.find(name)))
    ours = evaluate_coco(small_data.coco("val"), predict(model, small_data, "val"))
    folder = save_as_transformers(model, tmp_path / "saved")
    found = evaluate_source(str(folder), tmp_path / "out", Options(data=small_data))
    assert found.name == "saved"
    assert ours.ap > 0.02
    assert found.analysis.metrics.ap == pytest.approx(ours.ap, abs=0.01)
    assert found.analysis.metrics.ap50 == pytest.approx(ours.ap50, abs=0.01)
    assert set(found.classes.known) == set(model.class_names) & {
        c["name"] for c in small_data.coco("val")["categories"]
    }


def test_results_of_a_model_are_kept_and_found_again(
    transformers_folder: Path, small_data: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = evaluate_source(str(transformers_folder), out, Options(data=small_data))
    assert sorted(file.name for file in out.iterdir()) == ["evaluation.json", "predictions.json"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr("taco_kd.evaluate.evaluation.open_predictor", refuse)
    again = evaluate_source(str(transformers_folder), out, Options(data=small_data))
    assert (first.cached, again.cached) == (False, True)
    assert again.analysis == first.analysis
    assert again.classes == first.classes
    with pytest.raises(AssertionError, match="opened again"):  # other settings are other results
        evaluate_source(
            str(transformers_folder), out, Options(data=small_data, split="train", overwrite=True)
        )
    with pytest.raises(UsageError, match="already holds another evaluation"):
        evaluate_source(str(transformers_folder), out, Options(data=small_data, split="train"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("do not lose")
    with pytest.raises(UsageError, match="is not empty and holds no evaluation of ours"):
        evaluate_source(
            str(transformers_folder), tmp_path / "other", Options(data=small_data, overwrite=True)
        )


def test_fingerprints_follow_the_bytes(transformers_folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(transformers_folder, tmp_path / "copy")
    assert fingerprint(str(copied)) == fingerprint(str(transformers_folder))
    (copied / "config.json").write_text((copied / "config.json").read_text() + "\n")
    assert fingerprint(str(copied)) != fingerprint(str(transformers_folder))


def test_a_transformers_folder_that_is_not_whole(transformers_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(transformers_folder, tmp_path / "detr")
    processor = (folder / "preprocessor_config.json").read_text()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"has no preprocessor_config\.json; save its image processor"):
        HFFolderDetector(folder)
    (folder / "preprocessor_config.json").write_text(processor)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(DataError, match="transformers cannot load this detector"):
        HFFolderDetector(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match="transformers cannot load this detector"):
        HFFolderDetector(folder)


def test_weights_that_lack_layers_are_not_filled_at_random(transformers_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(transformers_folder, tmp_path / "detr")
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in state if "class_labels_classifier" in key)
    del state[gone]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lack 1 layers of its config \(first: .*class_labels_classifier"):
        HFFolderDetector(folder)


def test_a_folder_of_another_task(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(UsageError, match="is no object detector that transformers knows"):
        HFFolderDetector(tmp_path / "bert")


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        MissingResourceError,
        match=r"no such file or run folder here, and on the hub: owner/detr: is not .*hf download",
    ):
        open_predictor("owner/detr")
    with pytest.raises(DataError, match="nowhere: not a run folder"):
        open_predictor("nowhere")
    (tmp_path / "a.engine").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a\.engine: is no model that can be evaluated; give a run folder"):
        open_predictor(str(tmp_path / "a.engine"))
    with pytest.raises(MissingResourceError, match=r"a\.safetensors: no such weights file"):
        open_predictor(str(tmp_path / "a.safetensors"))


def test_a_model_needs_a_dataset(transformers_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a prepared dataset to run on: --data DIR"):
        evaluate_source(str(transformers_folder), tmp_path, Options())
    with pytest.raises(UsageError, match="--annotations goes with results files"):
        evaluate_source(str(transformers_folder), tmp_path, Options(annotations=tmp_path / "gt.json"))
    with pytest.raises(UsageError, match="a results file needs the ground truth"):
        evaluate_source("a.json", tmp_path, Options())


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages that Ultralytics imports
def test_a_real_yolov8n_on_real_litter(shared: Path, tmp_path: Path) -> None:
    from taco_kd.config import PrepareConfig
    from taco_kd.data.prepare import prepare

    folder = shared / "taco_val225"
    config = PrepareConfig(
        source="coco", images=folder / "images", annotations=folder / "annotations.json", workers=1
    )
    data = prepare(config, tmp_path / "taco")
    weights = str(shared / "weights" / "yolov8n_int8.onnx")
    with pytest.raises(DataError, match="none of its 80 classes"):
        evaluate_source(weights, tmp_path / "out", Options(data=data))
    options = Options(
        data=data, class_map={"bottle": "Clear plastic bottle", "cup": "Disposable plastic cup"}
    )
    found = evaluate_source(weights, tmp_path / "out", options)
    assert found.classes.known == ("Clear plastic bottle", "Disposable plastic cup")
    assert found.analysis.metrics.images == 34
    assert found.ap_of_known is not None


@pytest.fixture(scope="module")
def ultralytics_pt(tmp_path_factory: pytest.TempPathFactory, small_data: DataDir) -> Path:
    """A tiny YOLOv8 with the dataset's classes as Ultralytics saves it: a pickle of the whole model."""
    from copy import deepcopy

    from taco_kd.models.ultralytics_quiet import quiet_ultralytics

    with quiet_ultralytics():
        from ultralytics.nn.tasks import DetectionModel
    names = [c["name"] for c in small_data.coco("val")["categories"]]
    torch.manual_seed(0)
    network = DetectionModel("yolov8n.yaml", nc=len(names), verbose=False)
    network.names = dict(enumerate(names))
    network.args = {"task": "detect", "imgsz": 192}
    path = tmp_path_factory.mktemp("yolo") / "yolov8n-litter.pt"
    torch.save({"model": deepcopy(network).half(), "train_args": {"imgsz": 192}}, path)
    return path


def test_an_ultralytics_file_without_running_its_code(
    ultralytics_pt: Path, small_data: DataDir, tmp_path: Path
) -> None:
    found = evaluate_source(str(ultralytics_pt), tmp_path / "out", Options(data=small_data))
    assert found.name == "yolov8n-litter"
    assert found.classes.unknown == ()
    assert found.analysis.metrics.images == len(small_data.coco("val")["images"])
