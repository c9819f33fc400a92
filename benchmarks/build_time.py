"""Seconds to build a full-size model from its configuration on the CPU, without a download.

    python benchmarks/build_time.py [NAME ...]

Limit for RT-DETR-L (rtdetr-r50): 10 s. The first line is the import, which is paid once.
"""

from __future__ import annotations

import sys
import time

started = time.perf_counter()
import transformers  # noqa: E402

from taco_kd.models.zoo import find  # noqa: E402

NAMES = (
    "rtdetr-r50",
    "rtdetr-r101",
    "conditional-detr-r50",
    "deformable-detr-r50",
    "dab-detr-r50",
    "dfine-x",
)
CLASSES = [str(i) for i in range(60)]


def main(names: list[str]) -> None:
    _ = transformers.RTDetrV2ForObjectDetection  # transformers imports its models when they are asked for
    print(f"{'import':24} {time.perf_counter() - started:6.1f} s")
    for name in names:
        begun = time.perf_counter()
        model = find(name).build(CLASSES)
        seconds = time.perf_counter() - begun
        count = sum(p.numel() for p in model.network.parameters())
        print(f"{name:24} {seconds:6.1f} s  {count:,} parameters")


if __name__ == "__main__":
    main(sys.argv[1:] or list(NAMES))
