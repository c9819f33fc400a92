"""Detectors of other makers that find boxes in one picture at a time, and Ultralytics files as such."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from taco_kd.errors import DataError, MissingResourceError, UsageError, one_of
from taco_kd.models.ultralytics_quiet import quiet_ultralytics
from taco_kd.types import Detections


class BoxDetector(Protocol):
    """Anything that finds boxes in a picture.

    ``class_names`` are the detector's own, in the order of ``Detections.class_ids``; they need have nothing
    to do with the folders. ``name`` is how results call it.
    """

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def name(self) -> str: ...

    def detect(self, image: Image.Image) -> Detections:
        """Boxes of one upright RGB image, in its own pixels."""
        ...


class UltralyticsDetector:
    """A detector trained with Ultralytics, on the CPU: YOLOv8 and its successors, exported to ONNX.

    A ``.pt`` file is a pickle, which runs code of its author's choice when it is loaded: it needs
    ``trust_pickle``. Nothing is downloaded, installed or sent: see `quiet_ultralytics`.

    Args:
        path: the ``.onnx`` file.
        min_score: boxes below this confidence (0..1) are not returned.
        trust_pickle: load a ``.pt`` file all the same.

    Raises:
        UsageError: a ``.pt`` file without ``trust_pickle``, or another kind of file.
        MissingResourceError: no such file, or no Ultralytics on this machine.
        DataError: a file that Ultralytics did not export, that is no detector, or that does not run.
    """

    def __init__(self, path: Path, min_score: float = 0.25, *, trust_pickle: bool = False) -> None:
        if not path.is_file():
            raise MissingResourceError(f"{path}: no such detector file; make one: yolo export format=onnx")
        suffix = path.suffix.lower()
        if suffix == ".pt" and not trust_pickle:
            raise UsageError(
                f"{path}: a .pt file is a pickle and can run any code when loaded; export it with "
                f"'yolo export model={path.name} format=onnx', or add --trust-pickle if you made it yourself"
            )
        if suffix not in {".onnx", ".pt"}:
            raise UsageError(f"{path}: {one_of('kind of detector file', suffix, ['.onnx', '.pt'])}")
        if suffix == ".onnx":
            _check_exported(path)
        self.name = path.stem
        self._min_score = min_score
        yolo = _ultralytics_class()
        threads = torch.get_num_threads()
        try:
            self._model = yolo(str(path), task="detect")
            self._predict(Image.new("RGB", (64, 64)))  # the file is only opened by the first prediction
            names: dict[int, str] = dict(self._model.names)
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DataError(f"{path}: Ultralytics cannot run this detector ({reason})") from error
        finally:
            torch.set_num_threads(threads)  # Ultralytics sets its own, for the whole process
        if self._model.task != "detect":
            raise DataError(f"{path}: is a model for {self._model.task!r}; a 'detect' model is needed")
        self._index = {key: i for i, key in enumerate(sorted(names))}
        self.class_names = tuple(str(names[key]) for key in sorted(names))

    def detect(self, image: Image.Image) -> Detections:
        boxes = self._predict(image).boxes
        class_ids = torch.tensor([self._index[int(c)] for c in boxes.cls], dtype=torch.long)
        return Detections(boxes.xyxy.float().cpu(), boxes.conf.float().cpu(), class_ids)

    def _predict(self, image: Image.Image) -> Any:
        return self._model.predict(image, conf=self._min_score, device="cpu", verbose=False, save=False)[0]


def _ultralytics_class() -> Any:
    """The class ``ultralytics.YOLO``; the runtime it uses for exported files is kept as quiet as itself."""
    with quiet_ultralytics():
        import onnxruntime
        from ultralytics import YOLO
    onnxruntime.set_default_logger_severity(3)  # the GPU build warns on every machine without one
    return YOLO


def _check_exported(path: Path) -> None:
    """Refuse ONNX files without Ultralytics' metadata: their output would be read as something it is not.

    Raises:
        DataError: not ONNX, no class names inside, or another task than detection.
    """
    import onnx

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own, which has no typed name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: is not an ONNX file ({reason})") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        named = bool(ast.literal_eval(metadata.get("names", "{}")))
    except (SyntaxError, ValueError):
        named = False
    if not named:
        raise DataError(
            f"{path}: carries no class names, so Ultralytics did not export it; make a file that does "
            f"with 'yolo export model=... format=onnx'"
        )
    if metadata.get("task", "detect") != "detect":
        raise DataError(f"{path}: is a model for {metadata['task']!r}; a 'detect' model is needed")
