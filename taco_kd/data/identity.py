"""The hashes that tell whether two preparations are the same: of settings, of inputs, of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from taco_kd.config import PrepareConfig
from taco_kd.data.output import output_name
from taco_kd.data.records import RawDataset
from taco_kd.files import sha256_file, sha256_json
from taco_kd.runs import SPLITS, DataDir, Split

FORMAT = 2
"""Number of the layout and of the algorithm: raise it when the same input gives another result."""


def settings_hash(config: PrepareConfig) -> str:
    """Hash of the settings that change the result.

    Paths are not among them, since what they point at is in the input hash; nor is the number of workers.
    """
    names = {"source", "size", "hash_threshold", "train_ratio", "seed"}
    names |= {"near", "near_model", "near_threshold"} if config.near == "embeddings" else set()
    names |= {"hash", "hash_size", "quarantine", "check_labels"}
    names |= {"scenes"} if config.source == "synthetic" else {"clip_boxes"}
    return sha256_json({"format": FORMAT, **config.model_dump(mode="json", include=names)})


def file_hash(path: Path) -> str:
    """sha256 of an image file; a fixed word for one that cannot be read, which a quarantine may hold."""
    try:
        return sha256_file(path)
    except OSError:
        return "unreadable"


def input_hash(raw: RawDataset, image_hashes: Sequence[str]) -> str:
    """Hash of the annotation file and of the bytes of every image, in the order of ``raw.images``."""
    return sha256_json({"annotations": sha256_file(raw.annotations_file), "images": list(image_hashes)})


def content_hash(data: DataDir, parts: Mapping[Split, Sequence[int]], image_hashes: Mapping[int, str]) -> str:
    """Hash of the annotation files and images of ``data``; ``image_hashes`` are by image id."""
    return sha256_json(
        {
            split: {
                "annotations": sha256_file(data.annotations_file(split)),
                "images": {output_name(i): image_hashes[i] for i in parts[split]},
            }
            for split in SPLITS
        }
    )
