"""The hashes that tell whether two preparations are the same: of settings, of inputs, of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from taco_kd.config import PrepareConfig
from taco_kd.data.class_merge import map_identity
from taco_kd.data.named_ids import named_lines
from taco_kd.data.output import output_name
from taco_kd.data.records import RawDataset
from taco_kd.files import sha256_file, sha256_json
from taco_kd.runs import SPLITS, DataDir, Split

FORMAT = 2
"""Number of the layout and of the algorithm: raise it when the same input gives another result."""

_ALWAYS = {"source", "size", "mode", "truncate_boxes", "hash_threshold", "seed"}
_ALWAYS |= {"hash", "hash_size", "quarantine", "check_labels"}
_OF_A_DRAWN_SPLIT = {"train_ratio", "stratify", "group_by", "kfold", "fold"}


def settings_hash(config: PrepareConfig) -> str:
    """Hash of the settings that change the result.

    Paths are not among them, since what they point at is in the input hash; nor is the number of workers. Of
    lists of ids and class maps it is what is in them that counts.
    """
    names = _ALWAYS | ({"scenes"} if config.source == "synthetic" else {"clip_boxes"})
    names |= {"near", "near_model", "near_threshold"} if config.near == "embeddings" else set()
    names |= {"keep_split"} if config.keep_split else set() if config.ids else _OF_A_DRAWN_SPLIT
    values: dict[str, object] = {"format": FORMAT, **config.model_dump(mode="json", include=names)}
    if config.ids is not None:
        values["ids"] = sorted(named_lines(config.ids))
    if config.class_map is not None:
        values["class_map"] = map_identity(config.class_map)
    return sha256_json(values)


def file_hash(path: Path) -> str:
    """sha256 of an image file; a fixed word for one that cannot be read, which a quarantine may hold."""
    try:
        return sha256_file(path)
    except OSError:
        return "unreadable"


def input_hash(raw: RawDataset, image_hashes: Sequence[str]) -> str:
    """Hash of the files that describe the dataset and of the bytes of every image, in the order of
    ``raw.images``."""
    described: dict[str, object] = {
        "annotations": sha256_file(raw.annotations_file),
        "images": [*image_hashes],
    }
    if raw.more_files or raw.annotations_file.suffix != ".json":  # no one file names all the images
        described["names"] = [image.file_name for image in raw.images]
        described["more"] = [sha256_file(file) for file in raw.more_files]
    return sha256_json(described)


def contents(
    data: DataDir, parts: Mapping[Split, Sequence[int]], image_hashes: Mapping[int, str]
) -> dict[str, object]:
    """Hashes of the annotation files and images of ``data``, of which ``content_hash`` is the hash.

    Args:
        image_hashes: by image id.
    """
    return {
        split: {
            "annotations": sha256_file(data.annotations_file(split)),
            "images": {output_name(i): image_hashes[i] for i in parts[split]},
        }
        for split in SPLITS
    }
