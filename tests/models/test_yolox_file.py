"""YOLOX exports: which files are taken for one, and boxes where the grid says."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models.yolox_file import YoloxDetector, is_yolox

SIDE, CELLS = 64, 64 + 16 + 4


def export(path, cells, *, columns=7, side=SIDE):
    """A file whose output is ``cells`` whatever the picture: {place: (x, y, w, h, objectness, *classes)}."""
    table = np.zeros((1, CELLS, columns), dtype=np.float32)
    table[0, :, 2:4] = -1.0
    for place, row in cells.items():
        table[0, place] = row
    given = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, CELLS, columns])
    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["table", "nothing"], ["output"]),
    ]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.float32(0), "zero")]
    graph = helper.make_graph(nodes, "g", [taken], [given], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_boxes_lie_where_their_cells_do_in_pixels_of_the_photo(tmp_path):
    """Stride 8, cell (3, 2): centre (3.5, 2.5) x 8 = (28, 20), 16 x 8 in the input; the photo is twice it."""
    raw = {2 * 8 + 3: (0.5, 0.5, math.log(2), 0.0, 0.9, 0.1, 0.8)}
    detector = YoloxDetector(export(tmp_path / "a.onnx", raw), ("cup", "can"))
    found = detector.detect(Image.new("RGB", (128, 96)))
    assert found.boxes_xyxy.tolist() == [pytest.approx([40, 32, 72, 48])]
    assert found.scores.tolist() == [pytest.approx(0.72)]
    assert found.class_ids.tolist() == [1]
    assert len(YoloxDetector(tmp_path / "a.onnx", ("cup", "can"), 0.8).detect(Image.new("RGB", (8, 8)))) == 0


def test_boxes_decoded_by_the_file_are_left_as_they_are(tmp_path):
    table = dict.fromkeys(range(CELLS), (30, 30, 10, 20, 0.0, 0, 0)) | {5: (30, 30, 10, 20, 1.0, 1.0, 0)}
    detector = YoloxDetector(export(tmp_path / "a.onnx", table), ("cup", "can"))
    assert detector.detect(Image.new("RGB", (64, 64))).boxes_xyxy.tolist() == [[25, 20, 35, 40]]


def test_of_boxes_on_one_object_the_best_stays(tmp_path):
    near = {3: (0.5, 0.5, 1.0, 1.0, 0.9, 1, 0), 4: (-0.5, 0.5, 1.0, 1.0, 0.8, 1, 0)}
    detector = YoloxDetector(export(tmp_path / "a.onnx", near), ("cup", "can"))
    assert detector.detect(Image.new("RGB", (64, 64))).scores.tolist() == [pytest.approx(0.9)]


def test_other_files_are_not_taken_for_one(tmp_path):
    assert is_yolox(export(tmp_path / "a.onnx", {}))
    assert not is_yolox(export(tmp_path / "b.onnx", {}, side=96))  # cells of another side
    assert not is_yolox(export(tmp_path / "c.onnx", {}, columns=5))  # no class
    (tmp_path / "d.onnx").write_bytes(b"no graph")
    assert not is_yolox(tmp_path / "d.onnx")
    with pytest.raises(DataError, match="not the input and output of a YOLOX"):
        YoloxDetector(tmp_path / "d.onnx", ())
    with pytest.raises(MissingResourceError, match="no such detector"):
        YoloxDetector(tmp_path / "none.onnx", ())
    with pytest.raises(UsageError, match="has 2 classes, and 1 were named"):
        YoloxDetector(tmp_path / "a.onnx", ("cup",))
