"""A batch of a teacher's output as one entry of tensors per image, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from taco_kd.data.batch import Window
from taco_kd.distill.shards import Entry
from taco_kd.models.nms import NOTHING
from taco_kd.types import AttentionMap, DetectorOutput, FeatureMap

_FEATURE, _ATTENTION = "feature", "attention"


def split(output: DetectorOutput, *, dtype: torch.dtype) -> list[dict[str, Tensor]]:
    """An entry per image: ``logits`` [Q, C], ``boxes`` [Q, 4]; and where the output has them
    ``feature:0:NAME:STRIDE`` [K, H, W], ... and ``attention:H:W`` [heads, H*W, H*W].

    On the CPU and apart from the batch. Boxes stay float32 whatever ``dtype`` is: they are few, and half
    precision would move them by up to 0.02 % of the image.
    """
    columns = {"logits": output.logits.to(dtype), "boxes": output.boxes_cxcywh.float()}
    for place, level in enumerate(output.features):
        columns[f"{_FEATURE}:{place}:{level.name}:{level.stride}"] = level.tensor.to(dtype)
    if (seen := output.attention) is not None:
        columns[f"{_ATTENTION}:{seen.height}:{seen.width}"] = seen.tensor.to(dtype)
    on_cpu = {name: column.detach().cpu() for name, column in columns.items()}
    return [
        {name: column[image].contiguous().clone() for name, column in on_cpu.items()}
        for image in range(len(output.logits))
    ]


def join(entries: Sequence[Entry], *, device: torch.device | str) -> DetectorOutput:
    """The batch of these entries in float32.

    Images with fewer queries than others are filled up with queries that see nothing, as
    ``taco_kd.models.nms.one_per_object`` does.
    """
    queries = max(len(entry["logits"]) for entry in entries)
    logits = torch.stack([_filled(entry["logits"], queries, NOTHING) for entry in entries])
    boxes = torch.stack([_filled(entry["boxes"], queries, 0.5) for entry in entries])
    output = DetectorOutput(logits.to(device).float(), boxes.to(device))
    for part in sorted(name for name in entries[0] if ":" in name):
        kind, *words = part.split(":")
        column = torch.stack([entry[part] for entry in entries]).to(device).float()
        if kind == _FEATURE:
            output.features.append(FeatureMap(column, int(words[2]), words[1]))
        else:
            output.attention = AttentionMap(column, int(words[0]), int(words[1]))
    return output


def windowed(entry: Entry, window: Window) -> dict[str, Tensor]:
    """The entry of an image, moved with the image when only a part of it, or more than all of it, is shown.

    Boxes are clipped to what is shown; queries whose centre is not become queries that see nothing, as the
    objects go whose centre is cut off. Maps are sampled anew, bilinearly, and zero beyond the image. Not for
    attention, of which no part stands by itself.
    """
    x0, y0, x1, y1 = window
    scale = torch.tensor([x1 - x0, y1 - y0])
    boxes = entry["boxes"]
    centre, half = (boxes[:, :2] - torch.tensor([x0, y0])) / scale, boxes[:, 2:] / scale / 2
    low, high = (centre - half).clamp(0, 1), (centre + half).clamp(0, 1)
    shown = ((centre > 0) & (centre < 1) & (high > low)).all(dim=1, keepdim=True)
    moved = dict(entry)
    moved["boxes"] = torch.where(shown, torch.cat([(low + high) / 2, high - low], dim=1), 0.5)
    moved["logits"] = torch.where(shown, entry["logits"], NOTHING)
    theta = torch.tensor([[[x1 - x0, 0, x0 + x1 - 1], [0, y1 - y0, y0 + y1 - 1]]])
    for part, tensor in entry.items():
        if part.startswith(_FEATURE):
            grid = F.affine_grid(theta, [1, *tensor.shape], align_corners=False)
            moved[part] = F.grid_sample(tensor[None].float(), grid, align_corners=False)[0]
        elif part.startswith(_ATTENTION):
            raise ValueError("attention is not moved with a part of an image")
    return moved


def mirrored(entry: Entry) -> dict[str, Tensor]:
    """The entry of an image, moved with the image when that is mirrored left to right."""
    turned = dict(entry)
    turned["boxes"] = entry["boxes"].clone()
    turned["boxes"][:, 0] = 1 - turned["boxes"][:, 0]
    for part, tensor in entry.items():
        if part.startswith(_FEATURE):
            turned[part] = tensor.flip(-1)
        elif part.startswith(_ATTENTION):
            _, height, width = part.split(":")
            grid = tensor.reshape(-1, *2 * (int(height), int(width)))
            turned[part] = grid.flip(2, 4).reshape(tensor.shape)
    return turned


def _filled(rows: Tensor, length: int, value: float) -> Tensor:
    if len(rows) == length:
        return rows
    return torch.cat([rows, rows.new_full((length - len(rows), rows.shape[1]), value)])
