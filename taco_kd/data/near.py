"""Candidates for duplicates by the embeddings of a backbone: alike, although their hashes are far apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taco_kd.progress import Tick

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[Path], Tick | None], Vectors]
"""From image files to vectors [N, D]; made where models are known, since this package knows none."""

_ROWS_AT_ONCE = 1024


def near_pairs(ids: Sequence[int], vectors: Vectors, *, threshold: float) -> list[tuple[int, int, float]]:
    """Pairs of ids whose vectors have a cosine of at least ``threshold``, with that cosine.

    The mean of all vectors is taken off first, since what all images have in common tells no two of them
    apart. Compares all pairs, ``_ROWS_AT_ONCE`` rows at a time: made for tens of thousands of images.

    Args:
        vectors: [N, D], one for each of ``ids``.
    """
    if len(ids) < 2:
        return []
    centred = vectors.astype(np.float32) - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return [(ids[a], ids[b], round(cosine, 4)) for a, b, cosine in _close(centred, threshold)]


def _close(unit: Vectors, threshold: float) -> Iterator[tuple[int, int, float]]:
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        cosines = unit[start : start + _ROWS_AT_ONCE] @ unit[start:].T
        for row, column in np.argwhere(cosines >= threshold):
            if row < column:
                yield start + int(row), start + int(column), float(cosines[row, column])
