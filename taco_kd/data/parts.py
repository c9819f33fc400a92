"""Which images are train and which are val: as the settings say, out of the images that were kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taco_kd.config import PrepareConfig
from taco_kd.data import groups
from taco_kd.data.capture import shots_of
from taco_kd.data.dedup import Fingerprint
from taco_kd.data.records import Finding, ImageRecord
from taco_kd.data.split import Group, grouped_parts, random_folds, split_ids, stratified_parts
from taco_kd.errors import DataError, UsageError
from taco_kd.runs import Split


@dataclass(frozen=True)
class Parts:
    """Sorted image ids of each part, the group of each image where there are groups, and findings."""

    ids: dict[Split, list[int]]
    group_of: Mapping[int, int]
    findings: tuple[Finding, ...] = ()


def check_split(config: PrepareConfig) -> None:
    """Refuse settings of the split that contradict each other, before anything is read.

    Raises:
        UsageError: names the two settings.
    """
    fixed = [name for name in ("ids", "keep_split") if getattr(config, name)]
    drawn = [name for name in ("stratify", "group_by", "kfold") if getattr(config, name)]
    if len(fixed) > 1 or (fixed and drawn):
        one, other = (fixed + drawn)[:2]
        raise UsageError(f"{_flag(one)} and {_flag(other)} contradict: each says which images are val")
    if config.kfold is None and config.fold:
        raise UsageError(f"--fold {config.fold} without --kfold: say into how many parts")
    if config.kfold is not None and config.fold >= config.kfold:
        raise UsageError(f"--fold {config.fold} of --kfold {config.kfold}: folds count from 0")


def fixed_val_ids(config: PrepareConfig, images: Sequence[ImageRecord], named: frozenset[int]) -> set[int]:
    """Images that must be val: ``named`` by --ids, or those of the val part with --keep-split; else none."""
    if config.ids is not None:
        return set(named)
    if config.keep_split:
        return {image.id for image in images if image.part == "val"}
    return set()


def choose_parts(
    config: PrepareConfig,
    images: Mapping[int, ImageRecord],
    prints: Sequence[Fingerprint],
    val_ids: Collection[int],
) -> Parts:
    """The parts of the images in ``images``, from which duplicates are gone already.

    Args:
        prints: fingerprints of these images, in any order.
        val_ids: see ``fixed_val_ids``; decides alone where the settings fix the split.

    Raises:
        DataError: a part would be empty.
    """
    if config.ids is not None or config.keep_split:
        val = sorted(i for i in images if i in val_ids)
        if not val:
            raise DataError("not one image of val is left; give other ids, or let the split be drawn")
        train = sorted(i for i in images if i not in val_ids)
        return Parts({"train": train, "val": val}, {}, tuple(_of_fixed_split(train, val, val_ids)))
    if config.group_by is None:
        findings: list[Finding] = []
        together: list[Group] = [[i] for i in sorted(images)]
    else:
        together, findings = _groups(config.group_by, config.hash_threshold, images, prints)
    if len(together) < 2 and config.group_by is not None:
        raise DataError(f"--group-by {config.group_by} puts all {len(images)} images together; use another")
    ids = _drawn(config, together, images)
    if empty := [split for split, part in ids.items() if not part]:
        raise DataError(f"{len(together)} groups of {len(images)} images leave {empty[0]} empty; add images")
    if config.group_by is None:
        return Parts(ids, {})
    return Parts(ids, {i: number for number, group in enumerate(together) for i in group}, tuple(findings))


def _of_fixed_split(train: Sequence[int], val: Sequence[int], val_ids: Collection[int]) -> Iterator[Finding]:
    if not train:
        yield Finding("empty_train", "every image of the dataset is val: there is nothing to train on")
    if gone := sorted(set(val_ids) - set(val)):
        line = f"{len(gone)} images of val are duplicates of others in val, removed; the first: id {gone[0]}"
        yield Finding("duplicates_in_val", line)


def _drawn(
    config: PrepareConfig, together: Sequence[Group], images: Mapping[int, ImageRecord]
) -> dict[Split, list[int]]:
    plain = config.group_by is None and not config.stratify
    if plain and config.kfold is None:
        return split_ids(images, train_ratio=config.train_ratio, seed=config.seed)
    count = config.kfold
    if count is not None and count > len(together):
        raise DataError(f"--kfold {count}: there are only {len(together)} images or groups")
    shares = [1 - config.train_ratio, config.train_ratio] if count is None else [1 / count] * count
    if plain and count is not None:
        parts = random_folds(images, folds=count, seed=config.seed)
    elif config.stratify:
        shown = {i: {a.category_id for a in image.annotations} for i, image in images.items()}
        parts = stratified_parts(together, shown, shares=shares, seed=config.seed)
    else:
        parts = grouped_parts(together, shares=shares, seed=config.seed)
    val = parts[config.fold]
    return {"train": sorted(set(images) - set(val)), "val": val}


def _groups(
    by: str, hash_threshold: int, images: Mapping[int, ImageRecord], prints: Sequence[Fingerprint]
) -> tuple[list[Group], list[Finding]]:
    findings = []
    pairs = [*groups.hash_pairs(prints, bits=hash_threshold)] if by in ("duplicates", "scene") else []
    if by == "batch":
        pairs += groups.batch_pairs([images[i] for i in sorted(images)])
    if by in ("time", "scene"):
        shots = shots_of(images[i] for i in sorted(images))
        pairs += groups.time_pairs(shots)
        if without := len(images) - len(shots):
            line = f"{without} of {len(images)} images say nowhere when they were taken"
            findings.append(Finding("no_capture_time", line))
    if by == "scene":
        pairs += groups.scene_pairs(prints)
    return list(groups.joined(images, pairs)), findings


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
