"""Which device this is, and how it is doing: clocks, power, temperature, and whether it is being slowed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from taco_kd.environment import cpu_name
from taco_kd.errors import UsageError, one_of

PROJECTED_GPUS = ("t4",)
"""GPUs a latency can be projected to when they are not here."""

THROTTLE_REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal slowdown (software)",
    0x40: "thermal slowdown (hardware)",
    0x80: "power brake",
}
"""Bits of ``nvmlDeviceGetCurrentClocksThrottleReasons`` that mean slower than it could be (not: idle)."""


@dataclass(frozen=True)
class DeviceInfo:
    """A device at one moment; None where it does not say.

    Attributes:
        name: of the GPU or processor.
        threads: that torch computes with on the CPU.
        clock_mhz, max_clock_mhz: of the GPU's multiprocessors.
        load: programs that wanted the processor over the last minute (1-minute load average).
        throttle_reasons: why it is slower than it could be; empty where it is not, or does not say.
    """

    name: str
    kind: str
    threads: int
    clock_mhz: int | None = None
    max_clock_mhz: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    load: float | None = None
    throttle_reasons: tuple[str, ...] = ()


def find_gpu(name: str) -> torch.device | None:
    """The CUDA device whose name has the words of ``name`` in it; None where a known one is not here.

    >>> find_gpu("t4") is None or find_gpu("t4").type == "cuda"
    True

    Raises:
        UsageError: neither here nor one we can project to.
    """
    present = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    index = _index_of(name, present)
    if index is not None:
        return torch.device("cuda", index)
    if name.lower() not in PROJECTED_GPUS:
        raise UsageError(one_of("GPU", name, [*PROJECTED_GPUS, *dict.fromkeys(p.lower() for p in present)]))
    return None


def _index_of(name: str, present: Sequence[str]) -> int | None:
    wanted = set(name.lower().split())
    hits = (i for i, gpu in enumerate(present) if wanted and wanted <= set(gpu.lower().split()))
    return next(hits, None)


def describe_device(device: torch.device) -> DeviceInfo:
    """The device now; a GPU's clocks and temperature through NVML where the driver offers it."""
    threads = torch.get_num_threads()
    if device.type != "cuda":
        load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None  # not on Windows
        reasons = ("more programs than cores",) if (load or 0) > (os.cpu_count() or 1) else ()
        return DeviceInfo(cpu_name(), device.type, threads, load=load, throttle_reasons=reasons)
    name = torch.cuda.get_device_name(device)
    return DeviceInfo(name, device.type, threads, **_nvml_state(device))


def precision_name(device: torch.device) -> str:
    """What float32 means there: GPUs from Ampere on may compute convolutions in TF32, a coarser format."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return "fp32"
    coarser = [
        name
        for name, allowed in (
            ("convolutions", torch.backends.cudnn.allow_tf32),
            ("matrix products", torch.backends.cuda.matmul.allow_tf32),
        )
        if allowed
    ]
    return f"fp32 (TF32 {' and '.join(coarser)})" if coarser else "fp32"


def summarise_states(states: Sequence[DeviceInfo]) -> dict[str, list[float]]:
    """Lowest and highest of each quantity the device told while it was measured."""
    ranges = {}
    for name in ("clock_mhz", "max_clock_mhz", "power_w", "temperature_c", "load"):
        told = [value for state in states if (value := getattr(state, name)) is not None]
        if told:
            ranges[name] = [min(told), max(told)]
    return ranges


def throttles(states: Sequence[DeviceInfo]) -> tuple[str, ...]:
    """Every reason met for being slower than possible."""
    return tuple(dict.fromkeys(reason for state in states for reason in state.throttle_reasons))


def _nvml_state(device: torch.device) -> dict[str, Any]:
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
        try:
            # By UUID: NVML counts all GPUs, torch only those of CUDA_VISIBLE_DEVICES.
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            return {
                "clock_mhz": pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM),
                "max_clock_mhz": pynvml.nvmlDeviceGetMaxClockInfo(gpu, pynvml.NVML_CLOCK_SM),
                "power_w": pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
                "temperature_c": pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
                "throttle_reasons": throttle_names(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)),
            }
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return {}


def throttle_names(bits: int) -> tuple[str, ...]:
    """The reasons in NVML's bit mask, in words."""
    return tuple(reason for bit, reason in THROTTLE_REASONS.items() if bits & bit)
