"""How long does it take to pair a batch?

    python benchmarks/pairing_speed.py [--rounds 50]

Nano size: 16 images, 60 queries of each model, 8 classes. Full size: 16 images, 300 queries, 60 classes. Ten
confident teacher queries an image. Processor time; of one core with OMP_NUM_THREADS=1. The former Hungarian
pairing, which looped over the images and dropped no duplicates, is measured beside the others, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_convert, generalized_box_iou

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing import PairingSettings, make_group, pair
from taco_kd.types import DetectorOutput, Targets

IMAGES, OBJECTS = 16, 6
SIZES = {"nano": (60, 8), "full": (300, 60)}
KINDS = ("index", "hungarian", "pseudo-gt", "assigned", "injected")


def batch(queries: int, classes: int) -> tuple[DetectorOutput, DetectorOutput, list[Targets]]:
    """A student's output, a teacher's, and the ground truth, at random."""
    generator = torch.Generator().manual_seed(0)

    def boxes(*shape: int) -> torch.Tensor:
        drawn = torch.rand(*shape, 4, generator=generator)
        return torch.cat([0.2 + 0.6 * drawn[..., :2], 0.05 + 0.2 * drawn[..., 2:]], dim=-1)

    def answer() -> DetectorOutput:
        logits = torch.randn(IMAGES, queries, classes, generator=generator) - 5
        best = torch.randint(0, classes, (IMAGES, 10, 1), generator=generator)
        logits[:, :10] = logits[:, :10].scatter(2, best, 1.0)  # ten that are sure
        return DetectorOutput(logits, boxes(IMAGES, queries))

    targets = [
        Targets(boxes(OBJECTS), torch.randint(0, classes, (OBJECTS,), generator=generator), i)
        for i in range(IMAGES)
    ]
    return answer(), answer(), targets


@torch.no_grad()
def one_by_one(student: DetectorOutput, teacher: DetectorOutput, classes: ClassMap) -> None:
    """Hungarian pairing as it was: image by image."""
    scores = classes.teacher_confidence(teacher.logits)
    for b in range(len(scores)):
        confident = torch.nonzero(scores[b] >= 0.3).flatten()
        wanted = classes.teacher_logits(teacher.logits[b, confident]).float().sigmoid()
        own = classes.student_logits(student.logits[b]).float().sigmoid()
        boxes_s, boxes_t = student.boxes_cxcywh[b].float(), teacher.boxes_cxcywh[b, confident].float()
        overlap = generalized_box_iou(
            box_convert(boxes_s, "cxcywh", "xyxy"), box_convert(boxes_t, "cxcywh", "xyxy")
        )
        cost = 2 * torch.cdist(own, wanted, p=1) + 5 * torch.cdist(boxes_s, boxes_t, p=1) - 2 * overlap
        linear_sum_assignment(cost.cpu().nan_to_num(1e4).numpy())


def milliseconds(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median processor time of each call, all measured in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 3):
        for call, kept in zip(calls, times, strict=True):
            began = time.process_time()
            call()
            kept.append(time.process_time() - began)
    return [1e3 * statistics.median(kept[3:]) for kept in times]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    print(f"{'ms for 16 images':<18}" + "".join(f"{name:>12}" for name in (*KINDS, "one by one")))
    for size, (queries, count) in SIZES.items():
        student, teacher, targets = batch(queries, count)
        classes = ClassMap.by_index(["?"] * count, ["?"] * count)

        def paired(kind: str, student=student, teacher=teacher, targets=targets, classes=classes) -> object:
            settings = PairingSettings(kind)
            if kind == "injected":
                return make_group(teacher, targets, classes, settings, num_classes=len(classes.student))
            return pair(student, teacher, classes, settings, targets)

        calls = [lambda kind=kind, paired=paired: paired(kind) for kind in KINDS]
        calls.append(lambda s=student, t=teacher, c=classes: one_by_one(s, t, c))
        row = milliseconds(calls, given.rounds)
        print(f"{size:<18}" + "".join(f"{ms:>12.2f}" for ms in row))


if __name__ == "__main__":
    main()
