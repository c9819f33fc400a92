"""Which share of the pairs is right? On scenes whose objects are known.

    taco-kd prepare --source synthetic --scenes 400 --seed 777 --train-ratio 0.5 --size 192 --out data
    python benchmarks/pairing_truth.py --data data [--student early=RUN_DIR ...] [--teacher packaged]

The teacher is the packaged nano Conditional DETR; the students are the nano RT-DETRv2 with random weights,
those given, and the packaged one. A pair is right when student and teacher see the same true object. The
teacher sees the object that its box overlaps most, with IoU >= 0.5. What the student sees is told in three
ways, since one that has hardly been trained sees nothing by that measure: "sees" is the same rule; "nearest"
is the object of greatest GIoU; "assigned" is the object to which the matcher of the detection loss assigns
the query, so that both losses pull it to one place. An injected query is made from an object, so for it the
last column says how often the teacher's answer is about a true one. The answers are those of the last decoder
layer; --layers prints all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from taco_kd.classes.class_map import ClassMap
from taco_kd.data.dataset import DetectionDataset
from taco_kd.distill.pairing import PairingSettings, Pairs, make_group, pair
from taco_kd.distill.pairing.truth import NOTHING, Judgement, judge
from taco_kd.models import zoo
from taco_kd.models.detector import Detector
from taco_kd.runs import DataDir
from taco_kd.types import DetectorOutput, LayerOutput, Targets

KINDS = ("index", "hungarian", "pseudo-gt", "assigned", "injected")


def students(given: list[str], names: tuple[str, ...]) -> Iterator[tuple[str, Detector]]:
    sources = dict(text.partition("=")[::2] for text in given)
    for name, weights in {"random": "random", **sources, "packaged": "packaged"}.items():
        yield name, zoo.make("rtdetr-nano", names, weights=weights)[0]


def answers(student: Detector, images: torch.Tensor, **given: object) -> DetectorOutput:
    """In training mode, for only then are queries injected, but with the statistics of inference."""
    student.train()
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    output: DetectorOutput = student(images, **given)
    return output


@torch.no_grad()
def paired(
    kind: str,
    student: Detector,
    images: torch.Tensor,
    teacher: DetectorOutput,
    targets: list[Targets],
    classes: ClassMap,
    settings: PairingSettings,
) -> list[tuple[Pairs, Judgement]]:
    """The pairs of each decoder layer, first to last, and what they are worth."""
    if kind == "injected":
        count = len(student.class_names)
        generator = torch.Generator().manual_seed(targets[0].image_id)
        group, pairs = make_group(teacher, targets, classes, settings, num_classes=count, generator=generator)
        layers = answers(student, images, queries=group).injected
        return [(pairs, judge(pairs, layer, targets)) for layer in layers]
    output = answers(student, images)
    found = []
    for layer in (*output.layers, LayerOutput(output.logits, output.boxes_cxcywh)):
        pairs = pair(layer, teacher, classes, settings, targets)
        found.append((pairs, judge(pairs, layer, targets)))
    return found


def percent(part: torch.Tensor, whole: torch.Tensor) -> str:
    return f"{100 * part.sum() / whole.sum():9.1f}" if whole.sum() else f"{'-':>9}"


def print_row(name: str, kind: str, layer: int, found: list[tuple[Pairs, Judgement]], images: int) -> None:
    score = torch.cat([pairs.score for pairs, _ in found])
    judged = Judgement(*(torch.cat(c) for c in zip(*(vars(j).values() for _, j in found), strict=True)))
    every, object_seen = torch.ones_like(score), judged.teacher != NOTHING
    cells = [f"{len(score) / images:9.1f}", percent(object_seen, every)]
    for column in (judged.student, judged.nearest, judged.assigned):
        made_from_it = kind == "injected" and column is judged.assigned
        right = object_seen if made_from_it else judged.right(column)
        cells.append(percent(right, every))
        if column is not judged.assigned:
            cells.append(percent(right * score, score))
    print(f"{name:<10} {kind:<10} {layer:>5}  " + " ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a prepared dataset; its val part is used")
    parser.add_argument("--student", action="append", default=[], help="NAME=RUN_DIR, besides the two")
    parser.add_argument("--teacher", default="packaged", help="a run or a file, instead of the packaged one")
    parser.add_argument("--min-score", type=float, default=PairingSettings.min_score)
    parser.add_argument("--duplicate-iou", type=float, default=PairingSettings.duplicate_iou)
    parser.add_argument("--layers", action="store_true", help="every decoder layer, not the last alone")
    given = parser.parse_args()
    teacher_model = zoo.load(
        given.teacher if given.teacher == "packaged" else Path(given.teacher),
        expected_model="conditional-detr-nano" if given.teacher == "packaged" else None,
    ).eval()
    dataset = DetectionDataset(DataDir(given.data), "val", teacher_model.image_size)
    batches = []
    for batch in dataset.in_order(16):
        images = batch.images.float() / 255
        with torch.no_grad():
            batches.append((images, teacher_model(images), batch.targets))
    objects = sum(len(t.class_ids) for t in dataset.targets)
    print(f"{len(dataset)} scenes, {objects / len(dataset):.1f} objects each")
    heads = ("pairs/img", "T sees %", "sees %", "by score", "nearest %", "by score", "assigned %")
    print(f"{'student':<10} {'pairing':<10} {'layer':>5}  " + " ".join(f"{h:>9}" for h in heads))
    for name, student in students(given.student, dataset.class_names):
        classes = ClassMap.between(student.class_names, teacher_model.class_names)
        for kind in KINDS:
            settings = PairingSettings(kind, given.min_score, given.duplicate_iou)
            found = [paired(kind, student, i, out, t, classes, settings) for i, out, t in batches]
            layers = list(zip(*found, strict=True))
            for number, layer in enumerate(layers, 1):
                if given.layers or number == len(layers):
                    print_row(name, kind, number, list(layer), len(dataset))


if __name__ == "__main__":
    main()
