"""Files that are run as detectors, and those that are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from taco_kd.autolabel.stage import AutolabelOptions, autolabel
from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models.ultralytics_file import UltralyticsDetector

SHARED = Path(__file__).parents[2].parent / "shared"


def tiny_onnx(path: Path, **metadata: str) -> Path:
    """A valid ONNX file that hands its input through."""
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 64, 64]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, text in metadata.items():
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, str(path))
    return path


def test_a_pickle_is_refused_with_the_way_out(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": Evil()}, tmp_path / "yolov8n.pt")
    with pytest.raises(UsageError, match=r"yolo export model=yolov8n\.pt format=onnx.*--trust-pickle"):
        UltralyticsDetector(tmp_path / "yolov8n.pt")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MissingResourceError, match=r"yolo\.onnx: no such detector file"):
        UltralyticsDetector(tmp_path / "yolo.onnx")
    with pytest.raises(MissingResourceError):
        UltralyticsDetector(tmp_path / "yolo11n.pt")  # a name that Ultralytics would download


def test_another_kind_of_file(tmp_path):
    (tmp_path / "model.engine").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"'\.engine': choose one of \.onnx, \.pt"):
        UltralyticsDetector(tmp_path / "model.engine")


def test_bytes_that_are_not_onnx(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\xff\xff\xff not a graph")
    with pytest.raises(DataError, match=r"a\.onnx: is not an ONNX file"):
        UltralyticsDetector(tmp_path / "a.onnx")


@pytest.mark.parametrize("metadata", [{}, {"names": "{}"}, {"names": "__import__('os').getcwd()"}])
def test_onnx_without_class_names_would_be_misread(tmp_path, metadata):
    with pytest.raises(DataError, match="carries no class names"):
        UltralyticsDetector(tiny_onnx(tmp_path / "a.onnx", **metadata))


def test_a_model_for_another_task(tmp_path):
    file = tiny_onnx(tmp_path / "a.onnx", names="{0: 'person'}", task="segment")
    with pytest.raises(DataError, match="is a model for 'segment'"):
        UltralyticsDetector(file)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not in the shared folder beside the checkout")
    return path


@pytest.mark.shared
def test_onnx_of_another_maker_is_refused():
    with pytest.raises(DataError, match="carries no class names"):
        UltralyticsDetector(shared("weights/yolox_nano.onnx"))


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages that Ultralytics imports
def test_a_real_yolov8n_on_real_photos(tmp_path, capfd):
    weights, photos = shared("weights/yolov8n_int8.onnx"), shared("trashnet_sample")
    threads = torch.get_num_threads()
    detector = UltralyticsDetector(weights)
    assert torch.get_num_threads() == threads
    assert len(detector.class_names) == 80
    assert detector.class_names[0] == "person"
    assert detector.class_names[79] == "toothbrush"

    with Image.open(photos / "plastic" / "plastic350.jpg") as bottle:
        found = detector.detect(bottle.convert("RGB"))
    names = [detector.class_names[i] for i in found.class_ids]
    at = names.index("bottle")
    assert found.scores[at] > 0.6
    # Where it stands in the photo, by eye; within 20 px, so that pixels and axes are the photo's own.
    assert found.boxes_xyxy[at].tolist() == pytest.approx([220, 40, 420, 380], abs=20)

    result = autolabel(photos, detector, tmp_path / "out", options=AutolabelOptions(limit=2))
    assert result.overall.photos == 12
    assert result.overall.boxes >= 3
    assert set(result.overall.seen) <= set(detector.class_names)
    assert result.overall.mismatched >= 1
    assert result.figure_file.is_file()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == ""


@pytest.mark.shared
def test_nothing_is_looked_up_sent_or_installed(tmp_path):
    """In a fresh process, with every network call and every child process turned into a crash."""
    weights = shared("weights/yolov8n_int8.onnx")
    program = f"""
import socket, subprocess, sys, os
from pathlib import Path
def refuse(*args, **kwargs):
    print("called", args, file=sys.stderr)
    os._exit(9)
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
from taco_kd.models.ultralytics_file import UltralyticsDetector
from PIL import Image
subprocess.check_output = refuse
ours = Image.open
detector = UltralyticsDetector(Path({str(weights)!r}))
detector.detect(Image.new("RGB", (320, 240)))
from ultralytics.utils import checks
assert not checks.AUTOINSTALL and not checks.ONLINE
assert Image.open is ours
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not list(home.rglob("*onnxruntime*"))  # its telemetry would leave a device id here
