"""Operations counted by hand, what a naive count misses, and the golden figures of the full-size models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from taco_kd.bench.flops import count, trace, unfused
from taco_kd.bench.paper_convention import paper_cost
from taco_kd.models import conditional_detr, rtdetr

CLASSES = ("bottle", "can", "cup")


class PerPixel(nn.Module):
    """A linear layer on the 3 channels of each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.register_buffer("scale", torch.ones(7))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layer(images.flatten(2).transpose(1, 2))
        return out.relu()


class Attention(nn.Module):
    """Attention of every pixel to every pixel, in one fused call, after a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.head(images.flatten(2).transpose(1, 2))[:, None]
        return functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_linear() -> None:
    cost = count(PerPixel(), 4)
    assert cost.gmacs == pytest.approx(16 * 3 * 5 / 1e9)
    assert cost.gflops == pytest.approx(2 * cost.gmacs)
    assert (cost.parameters, cost.trainable, cost.buffers) == (20, 20, 7)
    assert cost.uncounted == [], "elementwise operators are free by convention"


def test_convolution() -> None:
    model = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    model.weight.requires_grad_(False)
    cost = count(model, 8)
    assert cost.gmacs == pytest.approx(4 * 4 * 8 * 3 * 9 / 1e9)
    assert (cost.parameters, cost.trainable) == (216, 0)


def test_attention_is_counted_as_its_products() -> None:
    tokens = 16
    projection, products = 2 * tokens * 9, 2 * (2 * tokens * tokens * 3)
    assert count(Attention(), 4).gflops == pytest.approx((projection + products) / 1e9)
    names = [kernel.name for kernel in trace(Attention(), 4)]
    assert names.count("bmm") == 2
    assert not [name for name in names if "attention" in name], "a fused kernel has no formula in older torch"


def test_the_fast_path_of_encoders_is_switched_off() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.widen = nn.Conv2d(3, 4, 1)
            self.layer = nn.TransformerEncoderLayer(
                4, 2, 6, batch_first=True
            )  # an odd width would not be fused

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.layer(self.widen(images).flatten(2).transpose(1, 2))
            return out

    n, d = 16, 4
    widen, projections, products, mlp = n * 3 * d, 4 * n * d * d, 2 * n * n * d, 2 * n * d * 6
    assert count(Encoder(), 4).gmacs == pytest.approx((widen + projections + products + mlp) / 1e9)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = PerPixel().train()
    model.layer.eval()  # frozen
    fast = torch.backends.mha.get_fastpath_enabled()
    count(model, 4)
    assert model.training
    assert not model.layer.training
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_nano_models_agree_with_torchs_counter() -> None:
    for build in (rtdetr.build_nano, conditional_detr.build_nano):
        model = build(CLASSES)
        with unfused(model), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, 96, 96))
        assert count(model, 96).gflops == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-9)


def test_sampling_of_deformable_attention_is_named_as_uncounted() -> None:
    cost = count(rtdetr.build_nano(CLASSES), 96)
    assert "grid_sampler_2d" in cost.uncounted
    assert not {"add", "relu", "cat", "convolution", "addmm", "empty"} & set(cost.uncounted)
    assert "grid_sampler_2d" not in count(conditional_detr.build_nano(CLASSES), 96).uncounted


def test_views_and_allocations_are_no_kernels() -> None:
    names = {kernel.name for kernel in trace(PerPixel(), 4)}
    assert names == {"mm", "add", "relu"}, "not the views, transposes and allocations between them"


def test_the_papers_convention_leaves_attention_and_unused_heads_out() -> None:
    model = rtdetr.build_nano(CLASSES)
    paper = paper_cost(model, 96)
    assert paper is not None
    decoder = model.network.model.decoder
    missed = [*decoder.class_embed[:-1].parameters(), *model.network.model.denoising_class_embed.parameters()]
    for name, module in model.named_modules():
        if name.endswith(".self_attn"):
            missed += module.parameters()
    everything = sum(p.numel() for p in model.parameters())
    assert paper.parameters_m * 1e6 == pytest.approx(everything - sum(p.numel() for p in missed))
    assert paper_cost(conditional_detr.build_nano(CLASSES), 96) is None


@pytest.mark.slow
def test_golden_figures_of_the_student() -> None:
    model = rtdetr.build_full([f"class {i}" for i in range(60)], version="v2", depth=50)
    cost = count(model, 640)
    assert cost.parameters == 42_850_272
    assert cost.gflops == pytest.approx(137.737, abs=5e-4)
    paper = paper_cost(model, 640)
    assert paper is not None
    assert round(paper.parameters_m, 2) == 40.92  # the paper's Table I
    assert round(paper.gflops, 2) == 136.06


@pytest.mark.slow
def test_golden_figures_of_the_teacher() -> None:
    cost = count(conditional_detr.build_full([f"class {i}" for i in range(91)], depth=50), 640)
    assert cost.parameters == 43_418_401
    assert cost.gflops == pytest.approx(83.489, abs=5e-4)


def test_two_models_of_one_architecture_run_the_same_operators() -> None:
    """The first forward of an RT-DETR also makes its anchors; a distilled model must not look cheaper."""
    first, second = (rtdetr.build_nano(("can", "cup")) for _ in range(2))
    runs = [[kernel.name for kernel in trace(model, 160)] for model in (first, second, first)]
    assert runs[0] == runs[1] == runs[2]
