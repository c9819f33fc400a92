"""Decoding and normalisation; what every detector must do is tests/conformance."""

import pytest
import torch

from taco_kd.models import conditional_detr
from taco_kd.models.decode import decode
from taco_kd.types import DetectorOutput

NAMES = ("can", "cup", "film", "paper")


def test_the_model_normalises_its_own_input():
    model = conditional_detr.build_nano(NAMES).eval()
    images = torch.rand(1, 3, 192, 192)
    with torch.no_grad():
        plain = model(images).logits
        model.set_normalisation([0.5] * 3, [0.25] * 3)
        shifted = model(images * 0.25 + 0.5).logits
    assert torch.allclose(plain, shifted, atol=1e-4)


def test_decode_by_hand():
    output = DetectorOutput(
        torch.tensor([[[2.0, -3.0], [-1.0, 1.0]]]),
        torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.95, 0.5, 0.2, 0.2]]]),
    )
    (found,) = decode(output, width=100, height=50, top_k=3)
    assert found.class_ids.tolist() == [0, 1, 0]
    assert found.scores.tolist() == pytest.approx(torch.tensor([2.0, 1.0, -1.0]).sigmoid().tolist())
    assert found.boxes_xyxy[0].tolist() == pytest.approx([40, 15, 60, 35])
    assert found.boxes_xyxy[1].tolist() == pytest.approx([85, 20, 100, 30])  # clipped at the right
