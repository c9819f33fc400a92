"""The one weighted sum: Eq. 1, a frozen teacher, projections that are trained."""

import pytest
import torch

from taco_kd.config import DistillConfig
from taco_kd.distill.recipe import Distiller
from taco_kd.errors import UsageError
from taco_kd.models import conditional_detr, dinov3, rtdetr
from taco_kd.types import Targets, total

NAMES = ("can", "cup", "film")


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    return rtdetr.build_nano(NAMES), conditional_detr.build_nano(NAMES[::-1])


def targets(count):
    return [Targets(torch.tensor([[0.5, 0.5, 0.2, 0.3]]), torch.tensor([1]), i) for i in range(count)]


@pytest.mark.parametrize(
    "config",
    [
        DistillConfig(),
        DistillConfig(
            features="off", classes="sigmoid-bce", boxes="l1-giou", pairing="hungarian", min_teacher_score=0
        ),
    ],
    ids=["paper", "matched"],
)
def test_terms_gradients_and_weights(pair, config):
    student, teacher = pair
    student.train().zero_grad(set_to_none=True)
    distiller = Distiller(config, student, teacher.train())
    images = torch.rand(2, 3, 192, 192)
    output = student(images, targets(2), with_features=distiller.with_features)
    terms = distiller(output, distiller.teacher_output(images))
    expected = {"kd_classes": config.class_weight, "kd_boxes": config.box_weight}
    if config.features != "off":
        expected["kd_features"] = config.feature_weight
    assert terms.raw.keys() == expected.keys()
    for name, weight in expected.items():
        assert terms.raw[name].item() > 0
        assert terms.weighted[name].item() == pytest.approx(weight * terms.raw[name].item())
    total({**output.losses, **terms.weighted}).backward()
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in distiller.parameters())
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0 for p in student.network.model.backbone.parameters()
    )


def test_the_denoising_queries_are_not_distilled(pair):
    student, _ = pair
    student.train()
    output = student(torch.rand(2, 3, 192, 192), targets(2))
    assert output.logits.shape == (2, student.network.config.num_queries, len(NAMES))


def test_teacher_is_fed_at_its_own_size(pair):
    student, teacher = pair
    distiller = Distiller(DistillConfig(), student, teacher)
    output = distiller.teacher_output(torch.rand(1, 3, 96, 96))
    assert output.features[-1].tensor.shape[-1] == 192 // 16


def test_teacher_does_not_travel_with_the_student(pair):
    student, teacher = pair
    distiller = Distiller(DistillConfig(features="off"), student, teacher)
    assert list(distiller.parameters()) == []
    distiller.train()
    assert not distiller.teacher.training


VIT = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
CONVNEXT = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}


@pytest.mark.parametrize(
    "teacher",
    [
        dinov3.rebuild_vit({**VIT, "num_register_tokens": 4}, model_name="dinov3-vit"),
        dinov3.rebuild_convnext(CONVNEXT, model_name="dinov3-convnext"),
    ],
    ids=["vit", "convnext"],
)
def test_a_feature_teacher_teaches_the_backbone_and_nothing_else(pair, teacher):
    student, _ = pair
    student.train().zero_grad(set_to_none=True)
    distiller = Distiller(DistillConfig(classes="off", boxes="off"), student, teacher)
    images = torch.rand(2, 3, 96, 96)
    output = student(images, targets(2), with_features=distiller.with_features)
    terms = distiller(output, distiller.teacher_output(images))
    assert terms.raw.keys() == {"kd_features"}
    terms.weighted["kd_features"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in distiller.parameters())
    named = {n for n, p in student.named_parameters() if p.grad is not None}
    assert named
    assert all(student.is_backbone(name) for name in named)


@pytest.mark.parametrize(
    "config",
    [DistillConfig(), DistillConfig(boxes="off"), DistillConfig(features="off", classes="off", boxes="off")],
)
def test_a_feature_teacher_asked_for_more_is_refused(pair, config):
    teacher = dinov3.rebuild_vit(VIT, model_name="dinov3-vit")
    with pytest.raises(UsageError, match=r"dinov3-vit teaches features only: set distill\.classes=off"):
        Distiller(config, pair[0], teacher)
