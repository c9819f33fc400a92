"""The dataset card: ``README.md`` of a prepared dataset, written from its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taco_kd.data.coco_schema import PASSED_ON
from taco_kd.runs import SPLITS, Split

_SETTINGS = (
    "size", "mode", "truncate_boxes", "hash_threshold", "train_ratio", "seed", "stratify", "group_by",
    "kfold", "fold", "keep_split", "ids", "class_map", "clip_boxes",
)  # fmt: skip


def dataset_card(record: Mapping[str, Any], cocos: Mapping[Split, Mapping[str, Any]]) -> str:
    """Markdown. It says nothing of when or where it was made, so that equal datasets have equal cards."""
    counts, config = record["counts"], record["config"]
    title = cocos["train"]["info"]["description"] or f"{config['source']} dataset"
    paragraphs = [
        f"# {_plain(title)}, prepared by taco-kd",
        "![Examples with their boxes](examples.jpg)",
        _table(
            ("split", "images", "boxes"),
            [(s, f"{counts[s]['images']:,}", f"{counts[s]['boxes']:,}") for s in SPLITS],
        ),
        "## How it was made",
        _made(record),
        _table(("setting", "value"), [(f"`{key}`", f"`{value}`") for key, value in _settings(config)]),
        "## Classes",
        _table(("class", *SPLITS), _class_rows(counts)),
        *_merged(record.get("class_map_table") or []),
        "## Licences and sources",
        _licences(cocos),
        *_findings(record["findings"]),
        "## Files",
        _FILES,
        "## Hashes",
        f"Content (annotations and images): `{record['content_hash']}`  \n"
        f"Input (annotation files and photos): `{record['input_hash']}`  \n"
        f"Settings: `{record['settings_hash']}`",
    ]
    return "\n\n".join(paragraphs) + "\n"


_FILES = (
    "- `annotations/train.json`, `annotations/val.json`: COCO, boxes and polygons in pixels of these images\n"
    "- `data.yaml`, `labels/`: the same boxes for YOLO tools (crowds, which YOLO cannot say, are left out)\n"
    "- `duplicates.json`: pairs of near-duplicates, and which image stayed\n"
    "- `dataset.json`: settings, counts, findings, hashes, software"
)


def _made(record: Mapping[str, Any]) -> str:
    counts, config = record["counts"], record["config"]
    shape = {"stretch": "stretched to", "letterbox": "padded with grey to"}[config["mode"]]
    return (
        f"{counts['images_read']:,} images were read (source `{config['source']}`), "
        f"{counts['duplicates_removed']:,} near-duplicates removed, {counts['exif_turned']:,} images turned "
        f"upright by their EXIF orientation; all were {shape} {config['size']}x{config['size']} pixels. "
        + _split_line(config)
    )


def _settings(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Those that decided something: switches that are off say nothing, nor does an unused ratio."""
    silent = {"train_ratio"} if config["ids"] or config["keep_split"] or config["kfold"] else set()
    silent |= set() if config["kfold"] else {"fold"}
    return [
        (key, config[key])
        for key in _SETTINGS
        if key in config and key not in silent and config[key] is not None and config[key] is not False
    ]


def _split_line(config: Mapping[str, Any]) -> str:
    if config["ids"]:
        return f"Val are the images that `--ids {config['ids']}` names."
    if config["keep_split"]:
        return "The split is that of the source."
    how = "stratified by class" if config["stratify"] else "at random"
    groups = f", whole groups (`{config['group_by']}`) on one side" if config["group_by"] else ""
    if config["kfold"]:
        return f"Val is fold {config['fold']} of {config['kfold']}, drawn {how}{groups}."
    return f"The split was drawn {how}{groups}."


def _class_rows(counts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    names = counts["train"]["boxes_per_class"]
    return [(_plain(n), *(f"{counts[s]['boxes_per_class'][n]:,}" for s in SPLITS)) for n in names]


def _merged(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    told = [(_plain(r["source"]), _plain(r["target"] or "(dropped)"), f"{r['boxes']:,}") for r in rows]
    return ["### Merged from", _table(("class of the source", "class here", "boxes in the source"), told)]


def _licences(cocos: Mapping[Split, Mapping[str, Any]]) -> str:
    images = [image for split in SPLITS for image in cocos[split]["images"]]
    names = {entry["id"]: entry for split in SPLITS for entry in cocos[split].get("licenses", [])}
    used = Counter(str(image["license"]) for image in images if "license" in image)
    kept = [key for key in PASSED_ON if any(key in image for image in images)]
    lines = []
    if used:
        rows = []
        for number, count in sorted(used.items()):
            entry = names.get(int(number)) if number.isdigit() else None
            rows.append(
                (_plain((entry or {}).get("name", number)), str((entry or {}).get("url", "")), f"{count:,}")
            )
        lines.append(_table(("licence", "address", "images"), rows))
    if without := len(images) - sum(used.values()):
        lines.append(
            f"The source names no licence for {without:,} of {len(images):,} images: ask its publisher "
            "before you pass them on."
        )
    if kept:
        fields = ", ".join(f"`{key}`" for key in kept)
        lines.append(f"What the source says of each image is kept in `annotations/*.json`: {fields}.")
    return "\n\n".join(lines)


def _findings(findings: Sequence[Mapping[str, str]]) -> list[str]:
    if not findings:
        return []
    kinds = Counter(finding["kind"] for finding in findings)
    first = {finding["kind"]: finding["line"] for finding in reversed(findings)}
    rows = [(f"`{kind}`", f"{count:,}", _plain(first[kind])) for kind, count in sorted(kinds.items())]
    return ["## Findings", _table(("kind", "how many", "the first"), rows)]


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = tuple(columns)
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: object) -> str:
    """Text of strangers without what Markdown would make of it."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in flat)
