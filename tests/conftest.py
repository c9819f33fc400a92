"""Shared fixtures: small synthetic datasets, the folder of real data, a quiet and deterministic torch."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# One, also for what tests start: with as many workers (pytest-xdist) as cores, threads of one worker would
# spin in wait for those of another, and the tests of training took 7 minutes instead of 1.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real TACO and TrashNet photos beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory):
    """24 prepared synthetic scenes at 192 px."""
    from taco_kd.config import PrepareConfig
    from taco_kd.data.prepare import prepare

    config = PrepareConfig(source="synthetic", scenes=24, size=192, seed=11, workers=1, train_ratio=0.7)
    return prepare(config, tmp_path_factory.mktemp("data") / "small")
