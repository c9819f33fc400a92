"""What each distillation loss costs beside the student's own training step.

    OMP_NUM_THREADS=1 python benchmarks/losses_speed.py [--rounds 15]

Nano models, 8 images of 192 px, processor time of one core, medians. The plain step (forward, detection
loss, backward) and the step with one more term run in turn in one process; the teacher's outputs are made
once, beforehand.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from taco_kd.distill.losses.attention import AttentionTransfer
from taco_kd.distill.losses.feature_losses import FEATURE_LOSSES
from taco_kd.distill.losses.l1_giou import l1_giou
from taco_kd.distill.losses.sigmoid_bce import sigmoid_bce
from taco_kd.distill.losses.softmax_kl import softmax_kl
from taco_kd.models import conditional_detr, rtdetr
from taco_kd.models.feature_zoo import find_features
from taco_kd.types import DetectorOutput, Targets, total

IMAGES, SIDE = 8, 192
NAMES = [f"class {i}" for i in range(10)]
Term = Callable[[DetectorOutput], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    student = rtdetr.build_nano(NAMES).train()
    teacher = conditional_detr.build_nano(NAMES).eval()
    images = torch.rand(IMAGES, 3, SIDE, SIDE)
    targets = [
        Targets(0.2 + 0.3 * torch.rand(4, 4), torch.randint(0, len(NAMES), (4,)), i) for i in range(IMAGES)
    ]
    with torch.no_grad():
        said = teacher(images, with_features=True, with_attention=True)
        vit = find_features("dinov3-vit-nano").build()(images)
    boxes, logits = said.boxes_cxcywh.flatten(0, 1), said.logits.flatten(0, 1)
    weights = torch.rand(len(boxes))

    def pairs(tensor: Tensor) -> Tensor:
        return tensor.flatten(0, 1)[: len(boxes)]

    levels = student.features_spec
    feature = {name: kind(levels, teacher.features_spec) for name, kind in FEATURE_LOSSES.items()}
    grid = FEATURE_LOSSES["cosine"](levels, find_features("dinov3-vit-nano").build().features_spec)
    attention = AttentionTransfer()
    assert said.attention is not None
    terms: dict[str, tuple[Mapping[str, bool], Term]] = {
        **{
            name: ({"with_features": True}, lambda out, loss=loss: loss(out.features, said.features))
            for name, loss in feature.items()
        },
        "cosine on a ViT": ({"with_features": True}, lambda out: grid(out.features, vit)),
        "softmax-kl": ({}, lambda out: softmax_kl(pairs(out.logits), logits, temperature=4.0)),
        "sigmoid-bce": ({}, lambda out: sigmoid_bce(pairs(out.logits), logits.sigmoid(), weights)),
        "l1-giou": ({}, lambda out: l1_giou(pairs(out.boxes_cxcywh), boxes, weights)),
        "attention": ({"with_attention": True}, lambda out: attention(out.attention, said.attention)),
        "encoder maps taken, unused": ({"with_encoder": True}, lambda out: out.logits.sum() * 0),
    }

    def step(asked: Mapping[str, bool], term: Term | None) -> float:
        started = time.process_time()
        output = student(images, targets, **asked)
        loss = total(output.losses)
        if term is not None:
            loss = loss + term(output)
        loss.backward()
        student.zero_grad(set_to_none=True)
        return time.process_time() - started

    for _ in range(2):
        step({}, None)
    plain: list[float] = []
    spent: dict[str, list[float]] = {name: [] for name in terms}
    ratios: dict[str, list[float]] = {name: [] for name in terms}
    for _ in range(rounds):
        for name, (asked, term) in terms.items():
            plain.append(step({}, None))
            spent[name].append(step(asked, term))
            ratios[name].append(spent[name][-1] / plain[-1])
    print(f"plain step {1000 * statistics.median(plain):.0f} ms ({IMAGES} images, {SIDE} px)")
    for name, times in spent.items():
        ratio = statistics.median(ratios[name])
        print(f"{name:28} {1000 * statistics.median(times):6.0f} ms  {ratio:.3f} of the plain step")


if __name__ == "__main__":
    main()
