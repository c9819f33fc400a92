"""Mosaic: four images put together around a point (Bochkovskiy et al., YOLOv4, arXiv:2004.10934)."""

from __future__ import annotations

import numpy as np
import torch

from taco_kd.data.sample import MIN_VISIBLE, Sample, cut_boxes, cut_image

CENTRE = (0.3, 0.7)
"""Where the corners of the four meet, as fractions of the side."""
SMALLEST = 0.5
"""An image is scaled by at least this, if its quarter does not want it larger; at most it keeps its size."""


def mosaic(samples: list[Sample], rng: np.random.Generator) -> Sample:
    """One image of the size of the first, each quarter filled by a part of one of four images of that size.

    Objects stay where at least ``MIN_VISIBLE`` of their box and one pixel of it are seen. Their outlines are
    not followed.
    """
    side = samples[0].image.shape[-1]
    across, down = (round(float(side * rng.uniform(*CENTRE))) for _ in range(2))
    canvas = torch.empty_like(samples[0].image)
    boxes, classes = [], []
    for number, sample in enumerate(samples):
        left, right = (0, across) if number % 2 == 0 else (across, side)
        top, bottom = (0, down) if number < 2 else (down, side)
        size = (bottom - top, right - left)
        scale = rng.uniform(max(SMALLEST, *(each / side for each in size)), 1.0)
        seen_height, seen_width = (min(side, round(each / scale)) for each in size)
        x0, y0 = (int(rng.integers(side - seen + 1)) for seen in (seen_width, seen_height))
        window = (x0, y0, x0 + seen_width, y0 + seen_height)
        canvas[:, top:bottom, left:right] = cut_image(sample.image, window, size)
        inside, share = cut_boxes(sample.boxes_xyxy, window, size)
        kept = (share >= MIN_VISIBLE) & ((inside[:, 2:] - inside[:, :2]) >= 1).all(dim=1)
        boxes.append(inside[kept] + torch.tensor([left, top, left, top]))
        classes.append(sample.class_ids[kept])
    found = torch.cat(classes)
    return Sample(canvas, torch.cat(boxes), found, ((),) * len(found))
