"""Draws who is paired with whom on one scene: docs/images/pairing.jpg.

    python benchmarks/pairing_figure.py --data data --out docs/images/pairing.jpg [--scene 0]

``data`` as for pairing_truth.py. The teacher and the student are the packaged nano models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from pairing_truth import KINDS, paired

from taco_kd.classes.class_map import ClassMap
from taco_kd.data.dataset import DetectionDataset
from taco_kd.distill.pairing import PairingSettings
from taco_kd.distill.pairing.truth import NOTHING
from taco_kd.models import zoo
from taco_kd.runs import DataDir

RIGHT, WRONG, TEACHER, TRUTH = "#1a7f37", "#cf222e", "#0969da", "#ffffff"
TITLES = {
    "index": "index: query i with query i",
    "hungarian": "hungarian",
    "pseudo-gt": "pseudo-gt",
    "assigned": "assigned",
    "injected": "injected",
}


def box(axes: Axes, cxcywh: torch.Tensor, side: int, colour: str, **style: object) -> tuple[float, float]:
    """Draw a box given in 0..1; its centre in pixels."""
    x, y, w, h = (cxcywh * side).tolist()
    axes.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fill=False, edgecolor=colour, **style))
    return x, y


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scene", type=int, default=0, help="position in the val part")
    given = parser.parse_args()
    teacher = zoo.load("packaged", expected_model="conditional-detr-nano").eval()
    dataset = DetectionDataset(DataDir(given.data), "val", teacher.image_size)
    student = zoo.make("rtdetr-nano", dataset.class_names, weights="packaged")[0]
    classes = ClassMap.between(student.class_names, teacher.class_names)
    batch = dataset.batch([given.scene])
    images, side = batch.images.float() / 255, dataset.image_size
    with torch.no_grad():
        seen = teacher(images)
    figure, places = plt.subplots(1, len(KINDS), figsize=(3 * len(KINDS), 3.4), layout="constrained")
    for axes, kind in zip(places, KINDS, strict=True):
        found = paired(kind, student, images, seen, batch.targets, classes, PairingSettings(kind))
        pairs, judged, layer = found[-1]
        axes.imshow(batch.images[0].permute(1, 2, 0).numpy())
        for true in batch.targets[0].boxes_cxcywh:
            box(axes, true, side, TRUTH, linewidth=1.2, linestyle=":")
        right = judged.teacher != NOTHING if kind == "injected" else judged.right(judged.nearest)
        for n in range(len(pairs)):
            if kind == "index" and pairs.score[n] < 0.3:
                continue  # sixty lines would hide all
            colour = RIGHT if right[n] else WRONG
            wanted = box(axes, pairs.target_boxes[n], side, TEACHER, linewidth=1.0)
            own = box(axes, layer.boxes_cxcywh[0, pairs.student[n]], side, colour, linewidth=1.4)
            axes.plot(*zip(own, wanted, strict=True), color=colour, marker=".", linewidth=1.4)
        axes.set_xlim(0, side)
        axes.set_ylim(side, 0)
        axes.set_axis_off()
        axes.set_title(TITLES[kind], fontsize=10)
    figure.savefig(given.out, dpi=110)


if __name__ == "__main__":
    main()
