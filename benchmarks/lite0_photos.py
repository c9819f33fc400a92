"""Which variant of timm's EfficientNet-Lite0 do the ImageNet weights belong to? Asked of real photos.

    python benchmarks/lite0_photos.py WEIGHTS.safetensors PHOTOS

PHOTOS holds one folder per material (cardboard, glass, metal, paper, plastic, trash), as TrashNet does. A hit
is an ImageNet class that can be of that material, by the words below: a coarse measure, good for comparing.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import ImageNetInfo, create_transform

from taco_kd.models.timm_names import to_timm_names

PLAUSIBLE = {
    "cardboard": "carton|crate|packet|envelope|mailbag|box|book jacket|binder|tray|plate rack|chest|paper",
    "glass": "bottle|beaker|jar|goblet|glass|vase|lotion|perfume|beer|wine|pitcher|cocktail",
    "metal": "can|bottlecap|beaker|cup|tin|spatula|ladle|caldron|opener|lighter|oil filter|tray|bottle|mug",
    "paper": "paper|envelope|packet|book|menu|crossword|comic|web site|towel|tissue|binder|notebook",
    "plastic": "bottle|bag|jug|packet|cup|lotion|container|cap|plastic|pill|soap|tub|bucket|nipple|tray",
    "trash": "packet|wrapper|bag|cup|plastic|mask|diaper|candle|ashcan|band aid|lotion|tissue|tub|bottle",
}
NORMALISATIONS = {
    "mean 0.5, std 0.5": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
HEAD = {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def classifier(name: str, weights: Path) -> torch.nn.Module:
    """The whole classifier, head included; strict: every key has its place."""
    model = timm.create_model(name).eval()
    named = to_timm_names(load_file(weights), model.state_dict())
    state = {}
    for key, value in named.items():
        part, _, rest = key.partition(".")
        state[f"{HEAD[part]}.{rest}" if part in HEAD else key] = value
    model.load_state_dict(state)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("photos", type=Path)
    given = parser.parse_args()
    info = ImageNetInfo("imagenet-1k")
    files = [(d.name, f) for d in sorted(given.photos.iterdir()) for f in sorted(d.glob("*.jpg"))]
    print(
        f"{len(files)} photos: model, normalisation, mean of the largest probability, entropy, top-1, top-5"
    )
    for name in ("tf_efficientnet_lite0", "efficientnet_lite0"):
        model = classifier(name, given.weights)
        for words, (mean, std) in NORMALISATIONS.items():
            size = (3, 224, 224)
            transform = create_transform(size, interpolation="bicubic", crop_pct=0.875, mean=mean, std=std)
            with torch.no_grad():
                found = [
                    model(transform(Image.open(f).convert("RGB"))[None])[0].softmax(-1) for _, f in files
                ]
            scores = torch.stack(found)
            entropy = -(scores * scores.clamp_min(1e-12).log()).sum(1).mean().item()
            first = fifth = 0
            for (kind, _), best in zip(files, scores.topk(5).indices.tolist(), strict=True):
                hits = [bool(re.search(PLAUSIBLE[kind], info.index_to_description(i))) for i in best]
                first, fifth = first + hits[0], fifth + any(hits)
            top = scores.max(1).values.mean().item()
            print(f"{name:22} {words:22} {top:.3f} {entropy:.2f} {first:3} {fifth:3}")


if __name__ == "__main__":
    main()
