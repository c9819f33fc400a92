"""Ultralytics' own files: pickled models, exported ONNX, fused weights; and that no code in them runs."""

import os

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision.ops import box_convert, box_iou

from taco_kd.errors import DataError, MissingResourceError
from taco_kd.models import zoo
from taco_kd.models.inert_pickle import read_pickled_model
from taco_kd.models.onnx_weights import read_onnx_model
from taco_kd.models.ultralytics_quiet import quiet_ultralytics
from taco_kd.models.weights import weights_hash

WEIGHTS = "weights/yolov8n_coco_fused.safetensors"
ONNX = "weights/yolov8n_int8.onnx"


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    """A .pt file as Ultralytics writes it, with three classes, and the network in it."""
    with quiet_ultralytics():
        from ultralytics import YOLO
        from ultralytics.nn.tasks import DetectionModel
    yolo = YOLO("yolo11n.yaml", task="detect")
    torch.manual_seed(0)
    yolo.model = DetectionModel("yolo11n.yaml", nc=3, verbose=False)
    yolo.model.names = {0: "can", 1: "cup", 2: "film"}
    path = tmp_path_factory.mktemp("pt") / "best.pt"
    yolo.save(path)
    return path, yolo.model


def test_a_whole_pickled_model_is_read_as_tensors(pickled):
    path, network = pickled
    model, report = zoo.load_reported(str(path))
    assert (model.model_name, model.class_names, model.image_size) == ("yolo11n", ("can", "cup", "film"), 640)
    assert report.matched_share == 1.0
    assert report.unexpected == report.missing == report.reshaped == []
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        theirs = network.half().float().eval()(images)[0]  # stored as float16
        assert torch.allclose(model(images).logits.sigmoid(), theirs[:, 4:].transpose(1, 2), atol=1e-5)


def test_its_classes_are_copied_by_name(pickled):
    path, network = pickled
    model, (report,) = zoo.make("yolo11n", ("film", "shoe", "can"), weights=str(path), seed=3)
    again, _ = zoo.make("yolo11n", ("film", "shoe", "can"), weights=str(path), seed=3)
    assert weights_hash(model.network) == weights_hash(again.network)
    assert report.rows_by_name == ["film", "can"]
    assert report.rows_at_random == ["shoe"]
    own, source = (n.state_dict()["model.23.cv3.1.2.weight"] for n in (model.network, network))
    assert torch.allclose(own[[0, 2]], source[[2, 0]], atol=1e-3)


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_no_code_of_a_pickle_is_run(tmp_path, pickled):
    ran = tmp_path / "ran"
    for name, evil in (
        ("os", Evil(os.system, f"touch {ran}")),
        ("exec", Evil(exec, f"open({str(ran)!r}, 'w')")),
        ("eval", Evil(eval, f"open({str(ran)!r}, 'w')")),
    ):
        path = tmp_path / f"{name}.pt"
        checkpoint = torch.load(pickled[0], weights_only=False)
        torch.save({**checkpoint, "train_args": evil}, path)
        try:
            read_pickled_model(path)
        except DataError as error:
            assert "posix.system" in str(error)  # noqa: PT017 (either outcome is safe)
        assert not ran.exists()


def test_an_architecture_with_code_in_it_is_not_evaluated(tmp_path, pickled):
    ran = tmp_path / "ran"
    checkpoint = torch.load(pickled[0], weights_only=False)
    checkpoint["model"].yaml["activation"] = f"open({str(ran)!r}, 'w')"
    torch.save(checkpoint, tmp_path / "a.pt")
    assert zoo.load(tmp_path / "a.pt").model_name == "yolo11n"
    assert not ran.exists()


def test_pt_files_that_hold_no_detector(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "linear.pt")
    with pytest.raises(DataError, match="carries no class names"):
        zoo.load(tmp_path / "linear.pt")
    torch.save({"x": Evil(dict)}, tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    for name in ("nothing", "text"):
        with pytest.raises(DataError, match=rf"{name}\.pt"):
            zoo.load(tmp_path / f"{name}.pt", expected_model="yolo11n")
    with quiet_ultralytics():
        from ultralytics.nn.tasks import SegmentationModel
    model = SegmentationModel("yolo11n-seg.yaml", nc=2, verbose=False)
    torch.save({"model": model}, tmp_path / "seg.pt")
    with pytest.raises(DataError, match="holds a SegmentationModel"):
        zoo.load(tmp_path / "seg.pt")


def onnx_file(path, nodes=(), **tensors):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    same = helper.make_node("Identity", ["x"], ["y"])
    stored = [numpy_helper.from_array(v, k.replace("__", ".")) for k, v in tensors.items()]
    graph = helper.make_graph([*nodes, same], "g", value[:1], value[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, text in {"names": "{0: 'a'}", "imgsz": "[320, 320]"}.items():
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, str(path))
    return path


def test_integer_weights_by_hand(tmp_path):
    values = np.array([[130, 128], [126, 255]], np.uint8).reshape(2, 2, 1, 1)
    file = onnx_file(
        tmp_path / "dynamic.onnx",
        model__0__conv__weight_quantized=values,
        model__0__conv__weight_scale=np.float32(0.5),
        model__0__conv__weight_zero_point=np.uint8(128),
        model__0__conv__bias=np.array([1, 2], np.float32),
    )
    read = read_onnx_model(file)
    assert read.state["model.0.conv.weight"].flatten().tolist() == [1.0, 0.0, -1.0, 63.5]
    assert read.state["model.0.conv.bias"].tolist() == [1.0, 2.0]
    assert (read.image_size, read.quantised, read.class_names) == (320, 1, ("a",))
    node = helper.make_node(
        "DequantizeLinear", ["q", "s", "z"], ["model.0.conv.weight_DequantizeLinear_Output"], axis=0
    )
    channels = np.array([0.5, 0.25], np.float32)  # one scale for each output channel
    qdq = onnx_file(tmp_path / "qdq.onnx", [node], q=values, s=channels, z=np.array([128, 126], np.uint8))
    assert read_onnx_model(qdq).state["model.0.conv.weight"].flatten().tolist() == [1.0, 0.0, 0.0, 32.25]


def test_onnx_files_that_are_none(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\xff not a graph")
    with pytest.raises(DataError, match=r"a\.onnx: is not an ONNX file"):
        zoo.load(tmp_path / "a.onnx")
    with pytest.raises(MissingResourceError, match=r"b\.onnx"):
        zoo.load(tmp_path / "b.onnx")
    with pytest.raises(DataError, match="lost the names"):
        read_onnx_model(onnx_file(tmp_path / "c.onnx", w=np.zeros(1, np.float32)))


def test_weights_of_another_scale_are_refused(tmp_path):
    model = zoo.find("yolov8n").build(("a", "b"))
    save_file(model.network.state_dict(), tmp_path / "n.safetensors")
    with pytest.raises(MissingResourceError, match="less than 90 %"):
        zoo.make("yolov8s", ("a", "b"), weights=str(tmp_path / "n.safetensors"))


@pytest.fixture
def photo(shared):
    with Image.open(shared / "trashnet_sample/plastic/plastic350.jpg") as opened:
        pixels = np.array(opened.convert("RGB").resize((640, 640)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.shared
def test_a_real_fused_yolov8n_is_ultralytics_to_the_bit(shared, photo):
    options = zoo.LoadOptions(classes="coco-80")
    model, report = zoo.load_reported(str(shared / WEIGHTS), expected_model="yolov8n", options=options)
    assert (report.matched_share, len(report.matched), report.missing) == (1.0, 127, [])
    with quiet_ultralytics():
        from ultralytics.nn.tasks import DetectionModel
    bare = DetectionModel("yolov8n.yaml", nc=80, verbose=False).eval().fuse(verbose=False)
    bare.load_state_dict(load_file(shared / WEIGHTS))
    with torch.no_grad():
        output, (theirs, _) = model(photo), bare(photo)
    assert torch.equal(output.logits[0].sigmoid(), theirs[0, 4:].T)
    (found,) = model.decode(output, width=512, height=384)
    kept = found.above(0.25)
    # where the bottle stands in the photo, by eye
    assert (kept.boxes_xyxy - torch.tensor([215.0, 55.0, 415.0, 384.0])).abs().amax(1).min() < 20


@pytest.mark.shared
def test_a_real_quantised_onnx_loads_and_agrees_with_its_own_run(shared, photo):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, report = zoo.load_reported(str(shared / ONNX))
    assert (model.model_name, model.image_size, model.class_names[39]) == ("yolov8n", 640, "bottle")
    assert report.matched_share == 1.0
    stored = load_file(shared / WEIGHTS)
    assert all(torch.equal(v, stored[k]) for k, v in model.network.state_dict().items())
    session = onnxruntime.InferenceSession(str(shared / ONNX), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"images": photo.numpy()})
    theirs = torch.from_numpy(theirs)[0].T
    with torch.no_grad():
        output = model(photo)
    ours = output.logits[0].sigmoid()
    assert (ours - theirs[:, 4:]).abs().max() < 0.15  # it rounds activations to 8 bits, we do not
    assert (ours - theirs[:, 4:]).abs().mean() < 1e-5
    sure = ours.amax(1) > 0.25
    assert sure.any()
    own = box_convert(output.boxes_cxcywh[0, sure] * 640, "cxcywh", "xyxy")
    their = box_convert(theirs[sure, :4], "cxcywh", "xyxy").clamp(0, 640)
    assert box_iou(own, their).diagonal().min() > 0.95


@pytest.mark.shared
def test_real_coco_weights_give_their_rows_to_classes_of_the_same_name(shared):
    names = ("Drink can", "cup", "bottle")
    model, (report,) = zoo.make("yolov8n", names, weights=str(shared / ONNX), seed=1)
    assert report.rows_by_name == ["cup", "bottle"]
    assert model.shape.class_width == 80
    assert model.shape.fused
    source = load_file(shared / WEIGHTS)["model.22.cv3.0.2.weight"]
    own = model.network.state_dict()["model.22.cv3.0.2.weight"]
    assert torch.equal(own[[1, 2]], source[[41, 39]])
