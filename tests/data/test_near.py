"""Candidates by embeddings: the search, and the pass through the preparation with a real backbone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from taco_kd.config import PrepareConfig
from taco_kd.data.near import near_pairs
from taco_kd.data.prepare import prepare
from taco_kd.data.synthetic import write_scenes
from taco_kd.errors import UsageError


def test_close_vectors_are_found_once_their_common_mean_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taco_kd.data.near._ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    vectors = (100 + rng.normal(size=(40, 16))).astype(np.float32)  # without centring all are alike
    vectors[31] = vectors[3] + 0.01
    found = near_pairs(range(100, 140), vectors, threshold=0.98)
    assert [(a, b) for a, b, _ in found] == [(103, 131)]
    assert found[0][2] == pytest.approx(1.0, abs=0.01)
    assert near_pairs([1], vectors[:1], threshold=0.5) == []
    assert near_pairs([1, 2], np.ones((2, 4), dtype=np.float32), threshold=0.5) == []  # nothing but mean


def test_packaged_backbone_finds_the_planted_copies_without_hashes(tmp_path: Path) -> None:
    from taco_kd.models.embeddings import Embedder

    root = write_scenes(tmp_path / "raw", count=8, seed=5, near_duplicates=2, exif_turned=1)
    planted = json.loads((root / "planted.json").read_text())["duplicates"]
    strict = {"hash_threshold": 0, "hash_size": 16}  # so that no hash finds them
    config = PrepareConfig(root=root, size=192, near="embeddings", near_threshold=0.95, **strict)
    with pytest.raises(UsageError, match="give prepare a function"):
        prepare(config, tmp_path / "out")
    data = prepare(config, tmp_path / "out", embed=Embedder("rtdetr-nano"))
    found = json.loads(data.duplicates_file.read_text())
    assert sorted(pair["image_ids"] for pair in found["pairs"]) == sorted(planted)
    assert {"embedding"} <= {pair["found_by"] for pair in found["pairs"]} <= {"embedding", "hash"}
    assert all(pair["similarity"] >= 0.95 for pair in found["pairs"] if pair["found_by"] == "embedding")
