"""SSD's crop (Liu et al., arXiv:1512.02325), all trials of torchvision's transform drawn at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F


class IoUCrop(v2.RandomIoUCrop):  # type: ignore[misc]  # untyped
    """As ``RandomIoUCrop``, with its settings and its distribution of crops, at a fraction of its time.

    torchvision tries up to 40 crops for each overlap that it draws, one after the other in Python, which
    takes longer than decoding the image.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """A crop ``top``, ``left``, ``height``, ``width``, and ``is_within_crop_area`` of the boxes, whose
        centres are in it; empty where the image is to be left as it is."""
        (boxes,) = flat_inputs
        height, width = boxes.canvas_size
        corners = F.convert_bounding_box_format(boxes, new_format="XYXY").as_subclass(Tensor)
        while True:
            overlap = self.options[int(torch.randint(len(self.options), (1,)))]
            if overlap >= 1.0:
                return {}
            share = self.min_scale + (self.max_scale - self.min_scale) * torch.rand(self.trials, 2)
            size = (share * torch.tensor([width, height])).long()  # across, down
            room = torch.tensor([width, height]) - size
            corner = (room * torch.rand(self.trials, 2)).long()
            crops = torch.cat([corner, corner + size], dim=1).to(corners.dtype)
            centres = (corners[:, :2] + corners[:, 2:]) / 2
            within = ((centres > crops[:, None, :2]) & (centres < crops[:, None, 2:])).all(dim=2)
            ratio = size[:, 0] / size[:, 1].clamp(min=1)
            fits = (size > 0).all(dim=1) & (ratio >= self.min_aspect_ratio) & (ratio <= self.max_aspect_ratio)
            best = torch.where(within, box_iou(crops, corners), -1.0).amax(dim=1)
            usable = (fits & within.any(dim=1) & (best >= overlap)).nonzero()
            if len(usable):
                first = int(usable[0])
                (left, top), (across, down) = corner[first].tolist(), size[first].tolist()
                return {
                    "top": top,
                    "left": left,
                    "height": down,
                    "width": across,
                    "is_within_crop_area": within[first],
                }
