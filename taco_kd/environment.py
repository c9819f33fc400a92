"""What a record says about the machine and the software that made it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import taco_kd
from taco_kd.errors import MissingResourceError, UsageError, one_of

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "ultralytics",
    "accelerate",
    "pycocotools",
    "onnxruntime",
    "onnxruntime-gpu",
    "pillow",
    "numpy",
)


DEVICES = ("auto", "cpu", "cuda", "cuda:1")


def package_versions() -> dict[str, str]:
    """Installed version of each package that can change a result; missing ones are left out."""
    found = {"taco-kd": taco_kd.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path | None = None) -> dict[str, str | bool] | None:
    """Commit and dirtiness of the checkout that holds ``folder`` (default: this package), if any."""
    where = str(folder or Path(__file__).parent)

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", where, *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if folder is None and git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # installed into a folder that happens to lie in somebody's repository
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain"))}


def cpu_name() -> str:
    """The processor's marketing name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one.

    Raises:
        UsageError: not the name of a device.
        MissingResourceError: that device is not here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(one_of("device", name, DEVICES)) from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(one_of("device", name, DEVICES))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MissingResourceError(
            f"device {name!r}: this machine shows {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    return device


def describe() -> dict[str, object]:
    """Versions, device and git state, as a record keeps them."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": package_versions(),
        "git": git_state(),
    }
