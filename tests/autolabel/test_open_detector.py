"""Any detector by one word: files, folders, names; and the words that name none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from taco_kd.autolabel.detectors import open_detector
from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models import rtdetr
from taco_kd.models.weights import save_model

PHOTO = Image.effect_noise((96, 64), 80).convert("RGB")


def test_weights_of_ours_and_names_of_the_model_list(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "mine.safetensors", rtdetr.build_nano(("cup", "can")))
    detector = open_detector(str(tmp_path / "mine.safetensors"), 0.0)
    assert (detector.name, detector.class_names) == ("mine", ("cup", "can"))
    found = detector.detect(PHOTO)
    assert found.boxes_xyxy[:, 2].max() <= 96
    assert open_detector("rtdetr-nano", 0.0).name == "rtdetr-nano"


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        (
            "yolov8n.pt",
            MissingResourceError,
            r"yolov8n\.pt: no such detector file; .*curl -LO https://github\.com/",
        ),
        ("mine.pt", MissingResourceError, r"mine\.pt: no such detector file; give a \.onnx"),
        ("none.onnx", MissingResourceError, r"none\.onnx: no such detector file"),
        ("none.safetensors", MissingResourceError, "no such detector file"),
        ("dragon", MissingResourceError, "dragon: no such detector; --detector takes"),
        ("nobody/nothing", MissingResourceError, "nobody/nothing: is not on this machine"),
    ],
)
def test_words_that_name_nothing(tmp_path, monkeypatch, word, kind, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        open_detector(word, 0.25)


def test_bare_weights_are_asked_what_they_are(tmp_path):
    from safetensors.torch import save_file

    save_file({"model.0.conv.weight": torch.zeros(2, 2)}, tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match="--detector-classes"):
        open_detector(str(tmp_path / "bare.safetensors"), 0.25)
    with pytest.raises(UsageError, match="--detector-model"):
        open_detector(str(tmp_path / "bare.safetensors"), 0.25, classes="coco-80")


def test_an_open_vocabulary_folder_has_its_own_option(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "owlv2"}))
    with pytest.raises(UsageError, match="give it to --open-vocabulary"):
        open_detector(str(tmp_path), 0.25)


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(DataError):
        open_detector(str(tmp_path), 0.25)


@pytest.mark.shared
def test_real_yolox_and_dequantised_yolov8n_on_a_real_photo(shared: Path):
    weights = shared / "weights"
    if not weights.is_dir():
        pytest.skip("no weights in the shared folder")
    with Image.open(shared / "taco_val225/images/1020.jpg") as opened:
        photo = opened.convert("RGB")
    yolox = open_detector(str(weights / "yolox_nano.onnx"), 0.5)
    found = yolox.detect(photo)
    at = [yolox.class_names[i] for i in found.class_ids].index("car")
    assert found.boxes_xyxy[at].tolist() == pytest.approx([372, 250, 430, 299], abs=15)
    bare = str(weights / "yolov8n_coco_fused.safetensors")
    yolov8 = open_detector(bare, 0.25, classes="coco-80", model="yolov8n")
    with Image.open(shared / "trashnet_sample/plastic/plastic350.jpg") as opened:
        seen = yolov8.detect(opened.convert("RGB")).above(0.25)
    assert "bottle" in [yolov8.class_names[i] for i in seen.class_ids]
