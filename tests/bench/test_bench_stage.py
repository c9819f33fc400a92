"""The whole benchmark on nano models, in a few seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from taco_kd.bench.devices import describe_device
from taco_kd.bench.records import BenchRecord
from taco_kd.bench.stage import bench
from taco_kd.errors import DataError, MissingResourceError, UsageError
from taco_kd.models import conditional_detr, rtdetr
from taco_kd.models.hf import HFDetector
from taco_kd.types import Detections

CLASSES = ("bottle", "can", "cup")
no_t4 = pytest.mark.skipif(
    any("T4" in torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
    reason="a T4 is here",
)


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[HFDetector, Path | None]]:
    found: dict[str, tuple[HFDetector, Path | None]] = {
        "student": (rtdetr.build_nano(CLASSES), None),
        "teacher": (conditional_detr.build_nano(CLASSES), None),
    }
    for model, _ in found.values():
        model.image_size = 64
    return found


@no_t4
def test_end_to_end(models: dict[str, tuple[HFDetector, Path | None]], tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    student = models["student"][0].train()
    images = torch.randint(256, (3, 3, 80, 100), dtype=torch.uint8)
    ticks: list[tuple[int, int]] = []
    records = bench(
        {"student": (student, weights), "teacher": models["teacher"]},
        device="cpu",
        gpu="t4",
        images=images,
        min_seconds=0.05,
        min_iterations=10,
        on_progress=lambda done, total, note="": ticks.append((done, total)),
    )
    assert [(r.model, r.scope) for r in records] == [
        ("student", "model"),
        ("teacher", "model"),
        ("student", "e2e"),
        ("teacher", "e2e"),
    ]
    for record in records:
        assert len(record.times_ms) >= 10
        assert record.device == describe_device(torch.device("cpu")).name, "measured under its own name"
        assert record.gflops == pytest.approx(2 * record.gmacs)
        assert BenchRecord.from_json(record.to_json()) == record
    first, second = records[:2]
    assert first.weights_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert second.weights_sha256 is None
    assert [p.device for p in first.projected] == ["Tesla T4", "Tesla T4"]
    assert records[2].projected == (), "what is projected is the model alone"
    assert first.images == "3 images in rotation"
    assert student.training, "models are left as they were"
    assert ticks[-1][0] == ticks[-1][1]


def test_without_a_gpu_to_answer_for_nothing_is_projected(
    models: dict[str, tuple[HFDetector, Path | None]],
) -> None:
    (record,) = bench(
        {"student": models["student"]}, device="cpu", min_seconds=0.0, min_iterations=3, scopes=["model"]
    )
    assert record.projected == ()
    assert record.images == "noise"


def test_images_take_turns_and_boxes_come_back_in_their_pixels(
    models: dict[str, tuple[HFDetector, Path | None]],
) -> None:
    from taco_kd.bench.calls import e2e_call

    model = models["student"][0].eval()
    images = torch.stack([torch.zeros(3, 50, 200, dtype=torch.uint8), torch.full((3, 50, 200), 255)]).byte()
    seen: list[torch.Tensor] = []
    hook = model.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    run = e2e_call(model, images, torch.device("cpu"))
    with torch.no_grad():
        found = [run() for _ in range(3)]
    hook.remove()
    assert [float(x.mean()) for x in seen] == [0.0, 1.0, 0.0]
    assert all(x.shape == (1, 3, 64, 64) for x in seen)
    (detections,) = found[0]  # type: ignore[misc]
    assert isinstance(detections, Detections)
    assert detections.boxes_xyxy[:, 2].max() > 50, "x runs to 200, y to 50"
    assert detections.boxes_xyxy[:, 3].max() <= 50


def test_what_cannot_be_measured_is_refused(models: dict[str, tuple[HFDetector, Path | None]]) -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        bench({})
    with pytest.raises(UsageError, match="unknown scope 'all': choose one of model, e2e"):
        bench(models, scopes=["all"])
    with pytest.raises(UsageError, match=r"unknown GPU 'h9000': choose one of t4"):
        bench(models, gpu="h9000")
    with pytest.raises(DataError, match="uint8"):
        bench(models, images=torch.rand(1, 3, 8, 8))
    with pytest.raises(MissingResourceError):
        bench(models, device="cuda:99")
