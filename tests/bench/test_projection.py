"""Projections: the two models behind them, and that they are marked as what they are."""

from __future__ import annotations

import numpy as np
import pytest

from taco_kd.bench import projection
from taco_kd.bench.flops import Kernel, trace
from taco_kd.bench.projection import (
    PUBLISHED_T4_TENSORRT_FP16,
    fit_line,
    leave_one_out_errors,
    project_t4,
    roofline,
    tensorrt_line,
)
from taco_kd.models import zoo

POINTS = list(PUBLISHED_T4_TENSORRT_FP16.values())


def kernel(flops: float, bytes_moved: float) -> Kernel:
    return Kernel("k", int(flops), int(bytes_moved), counted=True, elementwise=False)


def test_roofline_by_hand() -> None:
    # 1 ms of arithmetic against 0.5 ms of memory; then 0 against 2 ms; each starts in 4 us
    kernels = [kernel(4.15e9, 110e6), kernel(0, 440e6)]
    assert roofline(kernels).latency_ms == pytest.approx(1 + 2 + 2 * 0.004)


def test_small_kernels_widen_the_interval_upwards() -> None:
    small = roofline([kernel(10, 10)] * 500)
    assert small.interval_ms[1] == pytest.approx(25.0)
    assert "Python" in small.basis
    large = roofline([kernel(4.15e9, 0)] * 50)
    assert large.interval_ms == pytest.approx((0.75 * large.latency_ms, 1.25 * large.latency_ms))


def test_line_through_points_on_a_line() -> None:
    line = [(g, 2.0 + 0.05 * g) for g in (5.0, 50.0, 100.0, 200.0)]
    assert fit_line(line) == pytest.approx((2.0, 0.05))
    assert max(leave_one_out_errors(line)) < 1e-9


def test_the_published_points_and_how_well_a_line_explains_them() -> None:
    start_ms, ms_per_gflop = fit_line(POINTS)
    assert start_ms == pytest.approx(1.436, abs=0.001)
    assert ms_per_gflop == pytest.approx(0.05483, abs=1e-5)
    errors = leave_one_out_errors(POINTS)
    assert np.mean(errors) == pytest.approx(0.118, abs=0.001)
    assert max(errors) == pytest.approx(0.387, abs=0.001)  # YOLO11n, the smallest
    within = sum(e <= projection.SPREAD for e in errors)
    assert within == len(POINTS) - 1, "the interval holds all of them but one"


def test_line_names_its_error_and_its_range() -> None:
    inside, outside = tensorrt_line(100.0), tensorrt_line(0.7)
    assert "12% on average and 39% at most" in inside.basis
    assert "outside" not in inside.basis
    assert "outside their range of 6.5 to 259 GFLOPs" in outside.basis


def test_more_work_takes_longer() -> None:
    model = zoo.find("rtdetr-nano").build(("bottle", "can"))
    small, large = (roofline(trace(model, side)).latency_ms for side in (96, 192))
    assert small < large
    assert tensorrt_line(60).latency_ms < tensorrt_line(61).latency_ms


def test_both_come_with_device_interval_and_basis() -> None:
    for found in project_t4([kernel(1e9, 1e6)], 1.0):
        assert found.device == "Tesla T4"
        low, high = found.interval_ms
        assert low < found.latency_ms < high
        assert found.basis
    assert [p.backend for p in project_t4([kernel(1, 1)], 1.0)] == ["torch eager fp32", "TensorRT fp16"]


@pytest.mark.slow
def test_roofline_of_the_papers_student() -> None:
    # measured in the paper: 58.1 to 59.7 ms
    kernels = trace(zoo.find("rtdetr-r50").build([f"class {i}" for i in range(60)]), 640)
    assert roofline(kernels).latency_ms == pytest.approx(55.5, rel=0.02)
    assert roofline(kernels).interval_ms[0] < 58.1 < 59.7 < roofline(kernels).interval_ms[1]
