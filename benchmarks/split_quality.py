"""How evenly a random and a stratified split spread the classes of a COCO file, over many seeds.

    python benchmarks/split_quality.py annotations.json [--ids taco-paper-225] [--drop 1110 1157] [--seeds 20]

Reads labels only. For each way to split: images of val, classes that val shows, classes that only one side
shows, and how far the share of a class's images that is in val is from what was asked (median over seeds,
mean over classes).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Set
from pathlib import Path
from statistics import median

from taco_kd.data.named_ids import named_lines
from taco_kd.data.split import grouped_parts, split_ids, stratified_parts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotations", type=Path)
    parser.add_argument("--ids", help="a list of val ids to compare with")
    parser.add_argument(
        "--drop", type=int, nargs="*", default=[], help="images to leave out, such as duplicates"
    )
    parser.add_argument("--ratio", type=float, default=0.85)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    document = json.loads(given.annotations.read_text())
    classes: dict[int, set[int]] = {i["id"]: set() for i in document["images"] if i["id"] not in given.drop}
    batches: dict[str, list[int]] = {}
    for image in document["images"]:
        if image["id"] in classes:
            batches.setdefault(str(Path(image["file_name"]).parent), []).append(image["id"])
    for annotation in document["annotations"]:
        if annotation["image_id"] in classes:
            classes[annotation["image_id"]].add(annotation["category_id"])
    single = [[i] for i in classes]
    shares = (1 - given.ratio, given.ratio)
    ways = {
        "random": lambda seed: split_ids(classes, train_ratio=given.ratio, seed=seed)["val"],
        "stratified": lambda seed: stratified_parts(single, classes, shares=shares, seed=seed)[0],
        "by batch": lambda seed: grouped_parts([*batches.values()], shares=shares, seed=seed)[0],
        "by batch, stratified": lambda seed: stratified_parts(
            [*batches.values()], classes, shares=shares, seed=seed
        )[0],
    }
    print(
        f"{len(classes)} images, {len({c for s in classes.values() for c in s})} classes, {given.seeds} seeds"
    )
    columns = ("val images", "classes in val", "on one side only", "off by", "s")
    print(f"{'split':22}", *(f"{name:>{w}}" for name, w in zip(columns, (14, 14, 16, 8, 7), strict=True)))
    for name, draw in ways.items():
        started = time.perf_counter()
        vals = [draw(seed) for seed in range(given.seeds)]
        seconds = (time.perf_counter() - started) / given.seeds
        tell(name, vals, classes, 1 - given.ratio, seconds)
    if given.ids:
        val = [int(line) for line in named_lines(given.ids)]
        tell(given.ids, [val], classes, len(val) / len(classes), 0.0)


def tell(
    name: str, vals: list[list[int]], classes: Mapping[int, Set[int]], share: float, seconds: float
) -> None:
    rows = [measure(val, classes, share) for val in vals]
    sizes = [len(val) for val in vals]
    size = f"{min(sizes)}-{max(sizes)}" if min(sizes) < max(sizes) else str(sizes[0])
    shown, lonely, off = (median(row[k] for row in rows) for k in range(3))
    print(f"{name:22} {size:>14} {shown:14.1f} {lonely:16.1f} {100 * off:6.1f} % {seconds:7.3f}")


def measure(val: list[int], classes: Mapping[int, Set[int]], share: float) -> tuple[int, int, float]:
    inside = set(val)
    total: dict[int, int] = {}
    there: dict[int, int] = {}
    for image_id, shown in classes.items():
        for label in shown:
            total[label] = total.get(label, 0) + 1
            there[label] = there.get(label, 0) + (image_id in inside)
    off = [abs(there[label] / total[label] - share) for label in total]
    lonely = sum(there[label] in (0, total[label]) for label in total)
    return sum(count > 0 for count in there.values()), lonely, sum(off) / len(off)


if __name__ == "__main__":
    main()
