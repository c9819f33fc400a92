"""YOLOX detectors exported to ONNX by Megvii's own tool: they carry no class names, and raw grid outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.ops import batched_nms, box_convert, clip_boxes_to_image

from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.types import Detections

STRIDES = (8, 16, 32)
"""of the three output grids, fine to coarse; YOLOX-P6 and other layouts are not read"""
NMS_IOU = 0.65
"""what YOLOX evaluates with (Ge et al., arXiv:2107.08430, code)"""
_PAD = 114
_BEFORE_CLASSES = 5  # x, y, w, h, objectness


def is_yolox(path: Path) -> bool:
    """Whether an ONNX file has the one square input and the one grid output of a YOLOX export."""
    import onnx

    try:
        graph = onnx.load_model(str(path), load_external_data=False).graph
    except Exception:  # not ONNX: whoever reads it says so
        return False
    if len(graph.input) != 1 or len(graph.output) != 1:
        return False
    taken, given = (_shape(v) for v in (graph.input[0], graph.output[0]))
    if len(taken) != 4 or len(given) != 3 or taken[2] != taken[3] or taken[2] % STRIDES[-1]:
        return False
    return given[1] == _cells(taken[2]) and given[2] > _BEFORE_CLASSES


def _shape(value: Any) -> list[int]:
    return [int(d.dim_value) for d in value.type.tensor_type.shape.dim]


def _cells(side: int) -> int:
    return sum((side // stride) ** 2 for stride in STRIDES)


class YoloxDetector:
    """A YOLOX network in an ONNX file, run by ONNX Runtime on the CPU.

    Args:
        path: what ``tools/export_onnx.py`` of YOLOX wrote, boxes decoded or not.
        class_names: one per class column; the file itself names none.
        min_score: boxes below this confidence (objectness x class, 0..1) are not returned.

    Raises:
        MissingResourceError: no such file.
        DataError: it is no YOLOX export, or does not run.
        UsageError: not as many names as class columns.
    """

    def __init__(self, path: Path, class_names: Sequence[str], min_score: float = 0.25) -> None:
        if not path.is_file():
            raise MissingResourceError(f"{path}: no such detector file")
        if not is_yolox(path):
            raise DataError(f"{path}: has not the input and output of a YOLOX export")
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own, of no typed name
            raise DataError(f"{path}: ONNX Runtime cannot load it ({str(error).splitlines()[0]})") from None
        entry = self._session.get_inputs()[0]
        self._input, self._side = entry.name, int(entry.shape[2])
        columns = int(self._session.get_outputs()[0].shape[2]) - _BEFORE_CLASSES
        if columns != len(class_names):
            raise UsageError(
                f"{path}: has {columns} classes, and {len(class_names)} were named (--detector-classes)"
            )
        self.name, self.class_names, self._min_score = path.stem, tuple(class_names), min_score
        blank = self._run(Image.new("RGB", (self._side, self._side), (_PAD,) * 3))
        # Exported undecoded, widths are logarithms of cells, of which some are negative in any picture.
        self._decoded = bool((blank[:, 2:4] > 0).all())

    def detect(self, image: Image.Image) -> Detections:
        """Boxes of one upright RGB image, in its own pixels, best first."""
        raw = torch.from_numpy(self._run(image)).float()
        boxes = raw[:, :4] if self._decoded else _from_cells(raw[:, :4], self._side)
        scores, class_ids = (raw[:, 4:5] * raw[:, _BEFORE_CLASSES:]).max(dim=1)
        likely = scores >= max(self._min_score, 1e-3)
        corners = box_convert(boxes[likely], "cxcywh", "xyxy") / self._scale(image)
        corners = clip_boxes_to_image(corners, (image.height, image.width))
        scores, class_ids = scores[likely], class_ids[likely]
        kept = batched_nms(corners, scores, class_ids, NMS_IOU)
        return Detections(corners[kept], scores[kept], class_ids[kept])

    def _scale(self, image: Image.Image) -> float:
        return min(self._side / image.width, self._side / image.height)

    def _run(self, image: Image.Image) -> NDArray[np.float32]:
        """[N, 5 + C] of one picture, scaled into the upper left corner: BGR, 0..255, as YOLOX was trained."""
        scale = self._scale(image)
        size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
        canvas = Image.new("RGB", (self._side, self._side), (_PAD,) * 3)
        canvas.paste(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), (0, 0))
        pixels = np.asarray(canvas)[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        found: NDArray[np.float32] = self._session.run(None, {self._input: pixels})[0][0]
        return found


def _from_cells(raw: Tensor, side: int) -> Tensor:
    """Centre and size in input pixels: (offset + cell) x stride, exp(size) x stride."""
    cells, strides = [], []
    for stride in STRIDES:
        count = side // stride
        y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
        cells.append(torch.stack([x, y], dim=-1).reshape(-1, 2))
        strides.append(torch.full((count * count, 1), stride))
    cell, stride_of = torch.cat(cells), torch.cat(strides)
    return torch.cat([(raw[:, :2] + cell) * stride_of, raw[:, 2:].exp() * stride_of], dim=1)
