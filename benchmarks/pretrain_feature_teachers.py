"""Make the packaged nano DINOv3 feature teachers: dense supervision on synthetic scenes, then a linear probe.

    taco-kd prepare --source synthetic --scenes 3200 --seed 1000004 --train-ratio 0.94 --out pre/features
    python benchmarks/pretrain_feature_teachers.py pre/features --model dinov3-convnext-nano --out pre/cnx
    python benchmarks/pretrain_feature_teachers.py pre/features --model dinov3-vit-nano --out pre/vit

Every map of a stride that students have gets a linear head (1x1) that says, for each of its cells, which
share of it boxes of each class cover, whether an object of a class has its centre there, and how large that
object is. A run that is stopped goes on where it was.

Printed at the end (with --probe: only that): the mean over classes of the average precision with which a
linear layer on frozen stride-16 features finds the cells that a class covers by half, on held-out scenes,
beside the same network with random weights.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taco_kd.config import TrainConfig
from taco_kd.data.batch import Batch
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.files import replacing
from taco_kd.models.feature_zoo import find_features, load_features
from taco_kd.models.weights import save_model
from taco_kd.runs import DataDir
from taco_kd.types import FeatureMap, Targets

SIDE, BATCH, WARMUP = 192, 16, 100
LR = {"dinov3-convnext-nano": 2e-3, "dinov3-vit-nano": 1e-3}


def cover(targets: Targets, classes: int, side: int) -> Tensor:
    """[C, side, side]: which share of each cell a box of each class covers; the largest of several."""
    edges = torch.arange(side + 1) / side
    shares = torch.zeros(classes, side, side)
    for box, label in zip(targets.boxes_cxcywh, targets.class_ids.tolist(), strict=True):
        low, high = box[:2] - box[2:] / 2, box[:2] + box[2:] / 2
        columns, rows = (
            (torch.minimum(edges[1:], high[axis]) - torch.maximum(edges[:-1], low[axis])).clamp(min=0) * side
            for axis in (0, 1)
        )
        shares[label] = torch.maximum(shares[label], rows[:, None] * columns[None])
    return shares


def centres(targets: Targets, classes: int, side: int) -> tuple[Tensor, Tensor]:
    """[C, side, side] that is 1 where an object's centre lies, and its log sizes [2, side, side]."""
    heat, size = torch.zeros(classes, side, side), torch.full((2, side, side), math.nan)
    for box, label in zip(targets.boxes_cxcywh, targets.class_ids.tolist(), strict=True):
        column, row = (int(min(place * side, side - 1)) for place in box[:2].tolist())
        heat[label, row, column] = 1
        size[:, row, column] = box[2:].log()
    return heat, size


class Heads(nn.Module):
    """One linear head for each map of a stride that students have: 8, 16, 32."""

    def __init__(self, levels: list[tuple[int, int]], classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.heads = nn.ModuleDict(
            {str(stride): nn.Conv2d(channels, 2 * classes + 2, 1) for channels, stride in levels}
        )
        for head in self.heads.values():
            nn.init.constant_(head.bias, -4.0)

    def forward(self, maps: list[FeatureMap], targets: list[Targets]) -> Tensor:
        terms = []
        for level in maps:
            if str(level.stride) not in self.heads:
                continue
            side = level.tensor.shape[-1]
            shares = torch.stack([cover(t, self.classes, side) for t in targets])
            heat, size = (
                torch.stack(v) for v in zip(*(centres(t, self.classes, side) for t in targets), strict=True)
            )
            found, centre, extent = self.heads[str(level.stride)](level.tensor).split(
                [self.classes, self.classes, 2], dim=1
            )
            terms.append(F.binary_cross_entropy_with_logits(found, shares, reduction="sum") / shares.sum())
            # quality focal loss, arXiv:2006.04388: the few centres are not drowned by the other cells
            focus = (centre.sigmoid() - heat).abs().pow(2)
            each = F.binary_cross_entropy_with_logits(centre, heat, reduction="none")
            terms.append((focus * each).sum() / heat.sum().clamp(min=1))
            known = ~size.isnan()
            terms.append((extent[known] - size[known]).abs().sum() / known.sum().clamp(min=1))
        return torch.stack(terms).sum()


def turned(batch: Batch, generator: torch.Generator) -> Batch:
    """Each image turned by a random quarter and mirrored upside down at random: litter lies any way."""
    images, targets = [], []
    draws = torch.randint(0, 8, (len(batch.images),), generator=generator).tolist()
    for pixels, found, draw in zip(batch.images, batch.targets, draws, strict=True):
        image, (x, y, w, h) = pixels, found.boxes_cxcywh.unbind(-1)
        if draw & 1:
            image, y = image.flip(-2), 1 - y
        if draw & 2:
            image, x = image.flip(-1), 1 - x
        if draw & 4:
            image, x, y, w, h = image.transpose(-1, -2), y, x, h, w
        images.append(image)
        targets.append(Targets(torch.stack([x, y, w, h], -1), found.class_ids, found.image_id))
    return replace(batch, images=torch.stack(images), targets=targets)


def pretrain(name: str, data: DataDir, out: Path, steps: int, every: int = 100) -> None:
    torch.manual_seed(0)
    dataset = DetectionDataset(data, "train", SIDE)
    model = find_features(name).build()
    network = model.network.requires_grad_(True)  # its mode stays eval: no layer of it has another one here
    levels = [(spec.channels, spec.stride) for spec in model.features_spec if spec.stride >= 8]
    heads = Heads(levels, len(dataset.class_names))
    trained = [*network.parameters(), *heads.parameters()]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    state, done = out / "state.pt", 0
    if state.is_file():
        kept = torch.load(state, weights_only=True)
        network.load_state_dict(kept["network"])
        heads.load_state_dict(kept["heads"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["done"]
    batches = Batches(dataset, TrainConfig(batch_size=BATCH, seed=0, horizontal_flip=0), steps)
    started, losses = time.perf_counter(), []
    for step in range(done, steps):
        warm = min(1.0, (step + 1) / WARMUP)
        for group in optimizer.param_groups:
            group["lr"] = LR[name] * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = batches.batch(step)
        batch = turned(batch, torch.Generator().manual_seed(step))
        maps = model.maps(model.normalised(batch.images.float() / 255))
        named = [FeatureMap(m, s.stride, s.name) for m, s in zip(maps, model.features_spec, strict=True)]
        loss = heads(named, batch.targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % every == 0 or step + 1 == steps:
            pace = (time.perf_counter() - started) / (step + 1 - done)
            print(
                f"{name} step {step + 1}/{steps} loss {sum(losses) / len(losses):.3f} {pace:.2f} s/step",
                flush=True,
            )
            losses.clear()
            values = {"network": network.state_dict(), "heads": heads.state_dict()}
            with replacing(state) as aside:
                torch.save({**values, "optimizer": optimizer.state_dict(), "done": step + 1}, aside)
    save_model(out / "model.safetensors", model, half=True)


@torch.no_grad()
def cells(model: nn.Module, dataset: DetectionDataset, count: int) -> tuple[Tensor, Tensor]:
    """Features [N, K] of stride-16 cells and which classes cover at least half of each, [N, C]."""
    features, labels = [], []
    for batch in dataset.in_order(32):
        maps = model(batch.images.float() / 255)
        (level,) = (m for m in maps if m.stride == 16)
        features.append(level.tensor.flatten(2).transpose(1, 2).flatten(0, 1))
        shares = torch.stack(
            [cover(t, len(dataset.class_names), level.tensor.shape[-1]) for t in batch.targets]
        )
        labels.append(shares.flatten(2).transpose(1, 2).flatten(0, 1) >= 0.5)
        if sum(map(len, labels)) >= count * (SIDE // 16) ** 2:
            break
    return torch.cat(features), torch.cat(labels)


def probe(model: nn.Module, data: DataDir) -> float:
    """Mean average precision of cells on val, by a linear layer fitted on 1,000 train scenes."""
    x, y = cells(model, DetectionDataset(data, "train", SIDE), 1000)
    x_val, y_val = cells(model, DetectionDataset(data, "val", SIDE), 10**6)
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x, x_val = (x - mean) / std, (x_val - mean) / std
    torch.manual_seed(0)
    layer = nn.Linear(x.shape[1], y.shape[1])
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, weight_decay=1e-4)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / 600))
        chosen = torch.randint(0, len(x), (8192,))
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(layer(x[chosen]), y[chosen].float()).backward()
        optimizer.step()
    with torch.no_grad():
        scores = layer(x_val)
    precisions = []
    for column in range(y.shape[1]):
        hits = y_val[scores[:, column].argsort(descending=True), column].double()
        precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
        precisions.append((precision * hits).sum() / hits.sum().clamp(min=1))
    return float(torch.stack(precisions).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="prepared scenes")
    parser.add_argument("--model", required=True, choices=LR)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--probe", action="store_true", help="only measure what is in --out")
    options = parser.parse_args()
    data = DataDir.open(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.probe:
        pretrain(options.model, data, options.out, options.steps)
    trained, _ = load_features(options.out / "model.safetensors")
    torch.manual_seed(1)
    models = {"random weights": find_features(options.model).build(), "pre-trained": trained}
    for label, model in models.items():
        print(f"{options.model}, {label}: mean AP of stride-16 cells {100 * probe(model, data):.1f}")


if __name__ == "__main__":
    main()
