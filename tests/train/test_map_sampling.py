"""Sampling of maps by gathering: torch's values and gradients, and who uses it when."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from taco_kd.config import StudentConfig
from taco_kd.models.settings import initial_student
from taco_kd.train.determinism import deterministic
from taco_kd.train.map_sampling import grid_sample, repeatable
from taco_kd.types import Targets, total

TORCHS = F.grid_sample


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(0, 10**6),
    st.data(),
)
def test_values_and_gradients_are_torchs(count, channels, height, width, seed, data):
    torch.manual_seed(seed)
    reach = data.draw(st.sampled_from([0.5, 1.0, 1.6, 50.0]))  # places in the map, at its edge, outside
    maps = torch.randn(count, channels, height, width, dtype=torch.float64, requires_grad=True)
    places = (reach * (2 * torch.rand(count, 3, 2, 2, dtype=torch.float64) - 1)).requires_grad_()
    ours, theirs = grid_sample(maps, places), TORCHS(maps, places, align_corners=False)
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    weights = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (maps, places)),
        torch.autograd.grad((theirs * weights).sum(), (maps, places)),
        strict=True,
    ):
        assert torch.allclose(mine, other, rtol=1e-8, atol=1e-10)


def test_maps_in_half_precision_are_sampled_at_the_precision_of_the_places():
    maps, places = torch.randn(1, 2, 4, 4).bfloat16(), torch.rand(1, 3, 3, 2) * 2 - 1
    found = grid_sample(maps, places)
    assert found.dtype == torch.float32
    assert torch.allclose(found, TORCHS(maps.float(), places, align_corners=False), atol=1e-6)


def gradient_of_a_step(device="cpu"):
    torch.manual_seed(0)
    model = initial_student(StudentConfig(model="rtdetr-nano"), ("a", "b"), seed=0)[0].to(device).train()
    targets = [
        Targets(torch.tensor([[0.4, 0.5, 0.3, 0.2]]), torch.tensor([1]), i).to(device) for i in range(2)
    ]
    torch.manual_seed(1)
    total(model(torch.rand(2, 3, 192, 192).to(device), targets).losses).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_a_step_of_rtdetr_has_the_same_gradient(monkeypatch):
    expected = gradient_of_a_step()
    calls = []
    monkeypatch.setattr(
        "taco_kd.train.map_sampling.grid_sample", lambda *a: (calls.append(1), grid_sample(*a))[1]
    )
    with repeatable(everywhere=True):
        found = gradient_of_a_step()
    assert calls
    assert ((found - expected).norm() / expected.norm()).item() < 1e-4


def test_it_is_used_in_the_block_only_and_for_what_it_can_do(monkeypatch):
    monkeypatch.setattr("taco_kd.train.map_sampling.grid_sample", lambda *_: "ours")
    maps, places = torch.randn(1, 2, 4, 4), torch.zeros(1, 1, 1, 2)
    with deterministic(True):
        assert F.grid_sample is not TORCHS
        assert torch.is_tensor(F.grid_sample(maps, places, align_corners=False))  # on a CPU torch's own is
    with repeatable(everywhere=True):
        assert F.grid_sample(maps, places) == "ours"
        assert torch.is_tensor(F.grid_sample(maps, places, mode="nearest", align_corners=False))
        assert torch.is_tensor(F.grid_sample(maps, places, align_corners=True))
        assert torch.is_tensor(
            F.grid_sample(maps[:, :, None], torch.zeros(1, 1, 1, 1, 3), align_corners=False)
        )
    assert F.grid_sample is TORCHS


@pytest.mark.gpu
def test_on_a_gpu_a_step_of_rtdetr_can_be_had_twice_to_the_bit():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")

    with deterministic(True):
        assert torch.equal(gradient_of_a_step("cuda"), gradient_of_a_step("cuda"))
