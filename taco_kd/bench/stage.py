"""``bench``: the same clock, images and device for every model, and a record of each measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taco_kd import environment
from taco_kd.bench.calls import e2e_call, lent, model_call, peak_memory_mib
from taco_kd.bench.devices import (
    DeviceInfo,
    describe_device,
    find_gpu,
    precision_name,
    summarise_states,
    throttles,
)
from taco_kd.bench.flops import summarise, trace
from taco_kd.bench.latency import Effort, measure_interleaved
from taco_kd.bench.paper_convention import paper_cost
from taco_kd.bench.projection import project_t4
from taco_kd.bench.records import SCOPES, BenchRecord
from taco_kd.environment import pick_device
from taco_kd.errors import DataError, UsageError, one_of
from taco_kd.files import sha256_file
from taco_kd.models.detector import Detector
from taco_kd.progress import Tick
from taco_kd.runs import RunDir

NOISE_IMAGES = 4
"""images fed when none are given"""


def bench(
    models: Mapping[str, tuple[Detector, Path | None]],
    *,
    device: str = "auto",
    gpu: str | None = None,
    images: Tensor | None = None,
    min_seconds: float | None = None,
    min_iterations: int | None = None,
    scopes: Sequence[str] = SCOPES,
    on_progress: Tick | None = None,
) -> list[BenchRecord]:
    """Measure all models in turns, at batch 1 and float32, and count their work.

    Args:
        models: by the name of its row, each with the weights file or run folder it came from.
        device: cpu, cuda, cuda:1, or auto.
        gpu: the GPU to answer for, as ``t4``. Where it is here, it is measured whatever ``device`` says.
            Where it is not, ``device`` is measured under its own name, and ``projected`` holds an estimate.
        images: uint8 [N, 3, H, W] RGB, fed in rotation; noise of each model's size when None.
        min_seconds: least for each model and scope; what suits the device when None.
        min_iterations: likewise.
        scopes: which of ``records.SCOPES``.

    Returns:
        One record for each scope and model. The models are left as they were.

    Raises:
        UsageError: an unknown device, GPU or scope; no models.
        DataError: images of another shape or type.
        MissingResourceError: no such device on this machine.
    """
    _check(models, images, scopes)
    here = find_gpu(gpu) if gpu is not None else None
    target = here or pick_device(device)
    effort = Effort.for_device(target, min_seconds=min_seconds, min_iterations=min_iterations)
    detectors = {name: model for name, (model, _) in models.items()}
    setting = {
        "backend": "torch eager",
        "precision": precision_name(target),
        "batch": 1,
        "images": "noise" if images is None else f"{len(images)} images in rotation",
        "environment": environment.describe(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    records: list[BenchRecord] = []
    with lent(detectors), torch.no_grad():
        facts = {
            name: _facts(m, path, gpu is not None and here is None) for name, (m, path) in models.items()
        }
        for model in detectors.values():
            model.to(target).eval()
        for place, scope in enumerate(scopes):
            progress = _share(on_progress, place, len(scopes), scope)
            for name, timed in _measure(detectors, scope, images, target, effort, progress).items():
                projected = facts[name]["projected"] if scope == "model" else ()
                parts = {**facts[name], "projected": projected, **timed, **setting}
                records.append(BenchRecord(model=name, scope=scope, **parts))
    return records


def _check(models: Mapping[str, object], images: Tensor | None, scopes: Sequence[str]) -> None:
    if not models:
        raise UsageError("nothing to measure: name at least one run folder or model")
    for scope in scopes:
        if scope not in SCOPES:
            raise UsageError(one_of("scope", scope, SCOPES))
    if images is None:
        return
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] != 3 or not len(images):
        raise DataError(
            f"images to measure with: {images.dtype} {tuple(images.shape)}; uint8 [N, 3, H, W] is needed"
        )


def _facts(model: Detector, weights: Path | None, project: bool) -> dict[str, Any]:
    """The fields of a record that no clock is needed for."""
    if weights is not None and weights.is_dir():
        weights = RunDir.open(weights).model_file
    kernels = trace(model.cpu(), model.image_size)
    cost = summarise(model, kernels)
    paper = paper_cost(model, model.image_size)
    return {
        "weights_sha256": sha256_file(weights) if weights is not None else None,
        "image_size": model.image_size,
        "parameters": {"all": cost.parameters, "trainable": cost.trainable, "buffers": cost.buffers},
        "gmacs": cost.gmacs,
        "gflops": cost.gflops,
        "uncounted": tuple(cost.uncounted),
        "paper_convention": asdict(paper),
        "projected": tuple(project_t4(kernels, cost.gflops)) if project else (),
    }


def _measure(
    models: Mapping[str, Detector],
    scope: str,
    images: Tensor | None,
    device: torch.device,
    effort: Effort,
    on_progress: Tick | None,
) -> dict[str, dict[str, Any]]:
    """The fields of a record that come from measuring, for each model."""
    make = model_call if scope == "model" else e2e_call
    calls = {
        name: make(model, _noise(model.image_size) if images is None else images, device)
        for name, model in models.items()
    }
    states: dict[str, list[DeviceInfo]] = {name: [] for name in models}
    timings = measure_interleaved(
        calls,
        device=device,
        effort=effort,
        after_turn=lambda name: states[name].append(describe_device(device)),
        on_progress=on_progress,
    )
    return {
        name: {
            "device": states[name][-1].name,
            "threads": states[name][-1].threads,
            "times_ms": tuple(round(t, 4) for t in timing.times_ms),
            "warm_up_iterations": timing.warm_up_iterations,
            "stable": timing.stable,
            "peak_memory_mib": peak_memory_mib(calls[name], models[name], device),
            "device_state": summarise_states(states[name]),
            "throttle_reasons": throttles(states[name]),
        }
        for name, timing in timings.items()
    }


def _noise(side: int) -> Tensor:
    seeded = torch.Generator().manual_seed(0)
    return torch.randint(256, (NOISE_IMAGES, 3, side, side), dtype=torch.uint8, generator=seeded)


def _share(whole: Tick | None, place: int, places: int, label: str) -> Tick | None:
    """Progress of one of several equal parts, told to the bar of the whole."""
    if whole is None:
        return None

    def tick(done: int, total: int, note: str = "") -> None:
        whole(place * total + done, places * total, note or label)

    return tick
