"""A server of processes that can be killed, and tiny data for them; each for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    killing = pytest.importorskip("killing")  # forks, which Windows does not
    server = killing.Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training images and 4 others, at 96 px."""
    killing = pytest.importorskip("killing")
    return killing.synthetic(tmp_path_factory.mktemp("tiny") / "data")
