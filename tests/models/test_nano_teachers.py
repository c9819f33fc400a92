"""The packaged nano feature teachers: they arrive whole, fit in the package, and have learnt something."""

import pytest
import torch

from taco_kd.data.dataset import DetectionDataset
from taco_kd.models.feature_zoo import find_features, make_features
from taco_kd.models.sources import packaged_file

NAMES = ("dinov3-convnext-nano", "dinov3-vit-nano")
named = pytest.mark.parametrize("name", NAMES)


@named
def test_packaged_weights_arrive_whole_and_frozen(name):
    model, (report,) = make_features(name, weights="packaged")
    assert report.matched_share == 1.0
    assert report.missing == report.unexpected == report.reshaped == []
    assert (model.model_name, model.image_size) == (name, 192)
    assert all(not p.requires_grad for p in model.parameters())
    assert packaged_file(find_features(name)).stat().st_size < 6 * 2**20
    maps = model(torch.rand(1, 3, 192, 192))
    assert [(m.stride, m.tensor.shape[-1]) for m in maps] == [
        (spec.stride, 192 // spec.stride) for spec in model.features_spec
    ]
    assert all(torch.isfinite(m.tensor).all() for m in maps)


def centre_cells(model, dataset):
    """Features [N, K] of the stride-16 cells that hold the centres of objects, and as many other cells'."""
    inside, outside = [], []
    for batch in dataset.in_order(8):
        (level,) = (m.tensor for m in model(batch.images.float() / 255) if m.stride == 16)
        side = level.shape[-1]
        for found, targets in zip(level, batch.targets, strict=True):
            covered = torch.zeros(side, side, dtype=torch.bool)
            for cx, cy, w, h in targets.boxes_cxcywh.tolist():
                left, right = int((cx - w / 2) * side), int((cx + w / 2) * side)
                top, bottom = int((cy - h / 2) * side), int((cy + h / 2) * side)
                covered[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
                inside.append(found[:, min(int(cy * side), side - 1), min(int(cx * side), side - 1)])
            outside += list(found[:, ~covered].T[:: max(1, side)])
    return torch.stack(inside), torch.stack(outside)


def separation(model, data):
    """Share of unseen cells that a ridge regression on frozen features sorts into litter and ground."""
    scores = []
    for split in ("train", "val"):
        inside, outside = centre_cells(model, DetectionDataset(data, split, 192))
        x = torch.cat([inside, outside]).double()
        y = torch.cat([torch.ones(len(inside)), -torch.ones(len(outside))]).double()
        weight = torch.where(y > 0, 1 / len(inside), 1 / len(outside))
        scores.append((x, y, weight))
    (x, y, weight), (x_val, y_val, weight_val) = scores
    mean, std = x.mean(0), x.std(0).clamp(min=1e-9)
    x, x_val = ((v - mean) / std for v in (x, x_val))
    gram = x.T @ (weight[:, None] * x) + 0.3 * torch.eye(x.shape[1])
    found = x_val @ torch.linalg.solve(gram, x.T @ (weight * y))
    return float((((found > 0) == (y_val > 0)) * weight_val).sum() / weight_val.sum())


@named
def test_packaged_features_tell_litter_from_ground_better_than_random_ones(name, small_data):
    trained, _ = make_features(name, weights="packaged")
    random, _ = make_features(name, weights="random", seed=1)
    found, chance = separation(trained, small_data), separation(random, small_data)
    assert found > 0.85
    assert found > chance + 0.1
