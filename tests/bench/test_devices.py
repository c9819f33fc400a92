"""Names of devices, and what NVML says through a stand-in."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from taco_kd.bench import devices
from taco_kd.bench.devices import (
    DeviceInfo,
    describe_device,
    find_gpu,
    summarise_states,
    throttles,
)
from taco_kd.environment import pick_device
from taco_kd.errors import MissingResourceError, UsageError


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))

    def name_of(device: torch.device | int) -> str:
        return names[device if isinstance(device, int) else device.index]

    monkeypatch.setattr(torch.cuda, "get_device_name", name_of)


def test_t4_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, "NVIDIA T400", "Tesla T4")
    assert find_gpu("t4") == torch.device("cuda", 1), "T400 is another GPU"
    assert find_gpu("nvidia t400") == torch.device("cuda", 0)


def test_an_absent_t4_is_no_error_but_an_unknown_gpu_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, "NVIDIA A10")
    assert find_gpu("T4") is None
    with pytest.raises(UsageError, match="'t5': choose one of t4, nvidia a10"):
        find_gpu("t5")
    with pytest.raises(UsageError):
        find_gpu("")


def test_pick_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    pretend_gpus(monkeypatch)
    with pytest.raises(MissingResourceError, match="0 CUDA devices"):
        pick_device("cuda")
    for wrong in ("gpu", "meta"):
        with pytest.raises(UsageError, match="auto, cpu"):
            pick_device(wrong)


def test_a_processor_is_described() -> None:
    info = describe_device(torch.device("cpu"))
    assert info.name
    assert info.kind == "cpu"
    assert info.threads == torch.get_num_threads()
    assert info.clock_mhz is None


def test_a_crowded_processor_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(devices.os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    assert describe_device(torch.device("cpu")).throttle_reasons == ()
    monkeypatch.setattr(devices.os, "getloadavg", lambda: (7.0, 0.0, 0.0))
    assert describe_device(torch.device("cpu")).throttle_reasons == ("more programs than cores",)


def test_a_gpu_is_described_through_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1-2"))
    nvml = SimpleNamespace(
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetClockInfo=lambda gpu, kind: 930,
        nvmlDeviceGetMaxClockInfo=lambda gpu, kind: 1590,
        nvmlDeviceGetPowerUsage=lambda gpu: 69_500,
        nvmlDeviceGetTemperature=lambda gpu, kind: 71,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda gpu: 0x04 | 0x20 | 0x01,  # 0x01: idle
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    info = describe_device(torch.device("cuda", 0))
    assert (info.name, info.clock_mhz, info.max_clock_mhz) == ("Tesla T4", 930, 1590)
    assert (info.power_w, info.temperature_c) == (69.5, 71)
    assert info.throttle_reasons == ("power cap", "thermal slowdown (software)")

    def refuse(uuid: str) -> str:
        raise RuntimeError("no permission")

    nvml.nvmlDeviceGetHandleByUUID = refuse
    assert describe_device(torch.device("cuda", 0)).clock_mhz is None


def test_ranges_and_reasons_over_a_measurement() -> None:
    states = [
        DeviceInfo("T4", "cuda", 1, clock_mhz=1500, temperature_c=50),
        DeviceInfo("T4", "cuda", 1, clock_mhz=900, temperature_c=70, throttle_reasons=("power cap",)),
        DeviceInfo("T4", "cuda", 1, clock_mhz=950, temperature_c=72, throttle_reasons=("power cap",)),
    ]
    assert summarise_states(states) == {"clock_mhz": [900, 1500], "temperature_c": [50, 72]}
    assert throttles(states) == ("power cap",)
