"""How well does the audit find turned labels? Photos with right outlines, and the same turned on purpose.

    python benchmarks/turned_labels.py --images FOLDER --annotations FILE [--wrong 925 942]

``--wrong`` are image ids whose labels are known to be turned already: they are shown apart and not counted.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from taco_kd.data.coco import read_coco
from taco_kd.data.label_turns import BOX_MARGIN, MARGIN, label_turn, turned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--wrong", type=int, nargs="*", default=[])
    options = parser.parse_args()
    raw = read_coco(options.annotations, options.images, clip_boxes=True)
    for kind in ("polygons", "boxes"):
        right, planted, degrees_right, spent, known = [], [], [], 0.0, {}
        for record in raw.images:
            annotations = [
                replace(a, segmentation=a.segmentation if kind == "polygons" else ())
                for a in record.annotations
            ]
            size = (record.width, record.height)
            with Image.open(record.path) as opened:
                image = opened.convert("RGB")
            began = time.process_time()
            found = label_turn(image, annotations, *size)
            spent += time.process_time() - began
            if found is None or found.outlines != kind:
                continue
            if record.id in options.wrong:
                known[record.id] = (found.best_degrees, round(found.margin, 2))
                continue
            right.append(found.margin)
            for degrees in (90, 180, 270):
                wrong = [turned(a, degrees, *size) for a in annotations]
                if (seen := label_turn(image, wrong, *size)) is not None:
                    planted.append(seen.margin)
                    degrees_right.append(seen.best_degrees == 360 - degrees)
        report(kind, np.array(right), np.array(planted), np.array(degrees_right))
        print(
            f"  {1000 * spent / max(1, len(right)):.1f} ms an image; "
            f"already turned (degrees, margin): {known}"
        )


def report(kind: str, right: np.ndarray, planted: np.ndarray, degrees_right: np.ndarray) -> None:
    print(
        f"{kind}: {len(right)} images as they are, {len(planted)} turned; largest margin of a right one ",
        end="",
    )
    print(f"{right.max():.3f}; turned ones whose best turn is the right one: {degrees_right.mean():.3f}")
    for margin in (0.0, 0.05, 0.1, 0.15, 0.2):
        false, true = (right > margin).sum(), (planted > margin).sum()
        mark = " <- used" if margin == (MARGIN if kind == "polygons" else BOX_MARGIN) else ""
        # Precision where one image in ten is turned, which is far more than one should expect.
        share = true / len(planted) * 0.1
        precision = share / (share + false / len(right) * 0.9) if share else float("nan")
        print(
            f"  margin {margin:4.2f}: recall {true / len(planted):.3f}, "
            f"false alarms {false} of {len(right)}, "
            f"precision at one turned in ten {precision:.3f}{mark}"
        )


if __name__ == "__main__":
    main()
