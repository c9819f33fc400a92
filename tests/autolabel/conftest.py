"""A classification data set of flat pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

MakeFolders = Callable[[dict[str, int]], Path]


@pytest.fixture
def make_folders(tmp_path: Path) -> MakeFolders:
    """Write ``count`` photos of 80x60 px into ``photos/<class>/`` for each class."""

    def make(counts: dict[str, int]) -> Path:
        root = tmp_path / "photos"
        for label, count in counts.items():
            (root / label).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.new("RGB", (80, 60), (200, 40 + i, 40)).save(root / label / f"{i:02d}.png")
        return root

    return make
