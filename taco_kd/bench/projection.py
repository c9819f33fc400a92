"""What a Tesla T4 would need, estimated where there is none. A projection is never a measurement.

Two models. FP32 in eager PyTorch: a roofline (Williams et al., 2009, doi:10.1145/1498765.1498785), where
each kernel takes the longer of its arithmetic and its memory traffic, plus a fixed start. TensorRT FP16: a
straight line in GFLOPs through published T4 latencies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from taco_kd.bench.flops import Kernel

T4 = "Tesla T4"
T4_FLOPS_PER_S = 4.15e12
"""Sustained FP32: of the 8.1 TFLOP/s of the data sheet, what the clock under its 70 W cap leaves."""
T4_BYTES_PER_S = 220e9
"""Sustained, of 320 GB/s."""
T4_KERNEL_START_S = 4e-6
HOST_S_PER_KERNEL = 50e-6
"""What the host may need at most to start one: the paper's YOLO11-L took 30.87 ms for 624 kernels."""
SPREAD = 0.25
"""Half-width of the interval of a projection."""

PUBLISHED_T4_TENSORRT_FP16: Mapping[str, tuple[float, float]] = {
    # GFLOPs, ms at 640 px and batch 1. RT-DETR: arXiv:2304.08069, table 2 (1000 / FPS) and its repository;
    # D-FINE: arXiv:2410.13842, table 1, and its repository; YOLO11: docs.ultralytics.com/models/yolo11.
    "RT-DETR-R18": (60, 4.6),
    "RT-DETR-R34": (92, 6.2),
    "RT-DETR-R50-m": (100, 6.9),
    "RT-DETR-R50": (136, 9.26),
    "RT-DETR-R101": (259, 13.5),
    "RT-DETR-HGNetv2-L": (110, 8.8),
    "RT-DETR-HGNetv2-X": (234, 13.5),
    "D-FINE-N": (7, 2.12),
    "D-FINE-S": (25, 3.49),
    "D-FINE-M": (57, 5.62),
    "D-FINE-L": (91, 8.07),
    "D-FINE-X": (202, 12.89),
    "YOLO11n": (6.5, 1.5),
    "YOLO11s": (21.5, 2.5),
    "YOLO11m": (68.0, 4.7),
    "YOLO11l": (86.9, 6.2),
    "YOLO11x": (194.9, 11.3),
}


@dataclass(frozen=True)
class Projection:
    """An estimate for a device that is not here: a latency, its interval, and what it rests on."""

    device: str
    backend: str
    latency_ms: float
    interval_ms: tuple[float, float]
    basis: str


def project_t4(kernels: Sequence[Kernel], gflops: float) -> list[Projection]:
    """Both projections of a model whose forward runs ``kernels``; the paper's own setting comes first."""
    return [roofline(kernels), tensorrt_line(gflops)]


def roofline(kernels: Sequence[Kernel]) -> Projection:
    """FP32 eager PyTorch at batch 1.

    Small models are bound by the host that starts their kernels, which the roofline does not see; the upper
    end of the interval allows for it.
    """
    latency_ms = 1e3 * sum(
        max(k.flops / T4_FLOPS_PER_S, k.bytes_moved / T4_BYTES_PER_S) + T4_KERNEL_START_S for k in kernels
    )
    host_ms = 1e3 * HOST_S_PER_KERNEL * len(kernels)
    basis = "roofline; it explains the paper's two rows (55.5 for 58-60 ms, 32.4 for 30.9 ms), not validated"
    if host_ms > (1 + SPREAD) * latency_ms:
        basis += (
            f"; {len(kernels)} small kernels: starting them from Python may dominate, hence the wide interval"
        )
    upper = max((1 + SPREAD) * latency_ms, host_ms)
    return Projection(T4, "torch eager fp32", latency_ms, ((1 - SPREAD) * latency_ms, upper), basis)


def tensorrt_line(gflops: float) -> Projection:
    """TensorRT FP16 at batch 1."""
    points = list(PUBLISHED_T4_TENSORRT_FP16.values())
    start_ms, ms_per_gflop = fit_line(points)
    latency_ms = start_ms + ms_per_gflop * gflops
    errors = leave_one_out_errors(points)
    basis = (
        f"straight line through {len(points)} published latencies, which it misses by {np.mean(errors):.0%} "
        f"on average and {max(errors):.0%} at most when they are left out"
    )
    least, most = min(g for g, _ in points), max(g for g, _ in points)
    if not least <= gflops <= most:
        basis += f"; outside their range of {least:g} to {most:g} GFLOPs"
    interval = ((1 - SPREAD) * latency_ms, (1 + SPREAD) * latency_ms)
    return Projection(T4, "TensorRT fp16", latency_ms, interval, basis)


def fit_line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Milliseconds at no work and per GFLOP, of the line with the least squared *relative* error."""
    gflops, ms = np.asarray(points, dtype=np.float64).T
    design = np.stack([np.ones_like(gflops), gflops], axis=1) / ms[:, None]
    (start, slope), *_ = np.linalg.lstsq(design, np.ones_like(ms), rcond=None)
    return float(start), float(slope)


def leave_one_out_errors(points: Sequence[tuple[float, float]]) -> list[float]:
    """Relative error of the line at each point when it is fitted without it."""
    errors = []
    for i, (gflops, ms) in enumerate(points):
        start, slope = fit_line([*points[:i], *points[i + 1 :]])
        errors.append(abs(start + slope * gflops - ms) / ms)
    return errors
