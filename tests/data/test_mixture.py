"""Labelled and pseudo-labelled images in one order that depends on seed and step alone."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.config import TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.mixture import MixedDataset, mixed_with_pseudo
from taco_kd.data.overlap import ImagePrint, copies, print_of, prints_of_split
from taco_kd.errors import DataError, UsageError
from taco_kd.runs import DataDir
from taco_kd.types import Targets


class Part:
    """As much of a dataset as an order needs."""

    data = split = image_size = class_names = category_ids = None

    def __init__(self, count):
        self.images = [{"id": i} for i in range(count)]
        self.targets = [Targets(torch.zeros(0, 4), torch.zeros(0), i) for i in range(count)]
        self.outlines = [[] for _ in range(count)]

    def factors(self, sampling):
        return None

    def __len__(self):
        return len(self.images)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.floats(0.05, 0.95), st.integers(0, 3))
def test_shares_are_exact_and_each_set_is_used_up_before_it_repeats(labelled, pseudo, batch, weight, seed):
    data = MixedDataset(Part(labelled), Part(pseudo), weight)
    steps = [data.step_positions(s, batch_size=batch, seed=seed)[0] for s in range(30)]
    assert all(len(positions) == batch for positions in steps)
    flat = [p for positions in steps for p in positions]
    own, others = [p for p in flat if p < labelled], [p - labelled for p in flat if p >= labelled]
    assert abs(len(others) - 30 * batch * weight) <= 1
    for used, count in ((own, labelled), (others, pseudo)):
        for start in range(0, len(used) - count + 1, count):
            assert sorted(used[start : start + count]) == list(range(count))
    # A pure function of seed and step: asked out of order it says the same.
    assert data.step_positions(17, batch_size=batch, seed=seed)[0] == steps[17]


def test_another_seed_is_another_order():
    data = MixedDataset(Part(50), Part(50), 0.5)
    a, b = (data.step_positions(0, batch_size=20, seed=s)[0] for s in (0, 1))
    assert a != b
    assert data.epoch_images == 50
    assert len(data) == 100


def pseudo_of(data: DataDir, path, *, split="train", validation_hash="other", **changes) -> DataDir:
    """A pseudo-labelled dataset made of a split of ``data``, as the stage writes it."""
    shutil.copytree(data.path, path)
    found = DataDir(path)
    if split == "val":
        shutil.copytree(found.images_dir("val"), found.images_dir("train"), dirs_exist_ok=True)
        shutil.copyfile(found.annotations_file("val"), found.annotations_file("train"))
    prints = {p.path.name: p.record() for p in prints_of_split(found, "train")}
    (path / "prints.json").write_text(json.dumps(prints))
    record = found.record() | {"kind": "pseudo", "validation": {"content_hash": validation_hash}} | changes
    found.record_file.write_text(json.dumps(record))
    return found


def test_batches_hold_both_and_equal_the_datasets_own_images(small_data, tmp_path):
    pseudo = pseudo_of(small_data, tmp_path / "pseudo")
    labelled = DetectionDataset(small_data, "train", 64)
    mixed, _ = mixed_with_pseudo(labelled, pseudo.path, 0.5)
    config = TrainConfig(batch_size=4, seed=0, horizontal_flip=0.0)
    batch, again = (Batches(mixed, config, steps_total=4).batch(3) for _ in range(2))
    assert torch.equal(batch.images, again.images)
    ids = [t.image_id for t in batch.targets]
    assert Counter(i < 0 for i in ids) == {True: 2, False: 2}  # ids of the two sets never meet
    positions, _ = mixed.step_positions(3, batch_size=4, seed=0)
    assert torch.equal(batch.images[0], labelled.image(positions[0]))


def test_plain_batches_are_what_they_were(small_data):
    """The order of an unmixed dataset: a run begun before mixtures existed must resume."""
    data = DetectionDataset(small_data, "train", 64)
    first, _ = data.step_positions(0, batch_size=4, seed=3)
    assert len(set(first)) == 4
    per_epoch = len(data) // 4
    epoch = [p for s in range(per_epoch) for p in data.step_positions(s, batch_size=4, seed=3)[0]]
    assert len(set(epoch)) == 4 * per_epoch
    assert data.step_positions(per_epoch, batch_size=4, seed=3)[1] == (1, 0)


def test_a_pseudo_labelled_validation_image_is_refused(small_data, tmp_path):
    pseudo = pseudo_of(small_data, tmp_path / "pseudo", split="val")
    with pytest.raises(DataError, match=r"of its images lie in the validation split .*--validation"):
        mixed_with_pseudo(DetectionDataset(small_data, "train", 64), pseudo.path, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kind": None}, "is no pseudo-labelled dataset"), ({"class_names": ["cup"]}, "classes are not those")],
)
def test_other_folders_are_refused(small_data, tmp_path, changes, message):
    pseudo = pseudo_of(small_data, tmp_path / "pseudo", **changes)
    with pytest.raises(DataError, match=message):
        mixed_with_pseudo(DetectionDataset(small_data, "train", 64), pseudo.path, 0.5)


def test_a_weight_is_a_share_and_prints_must_be_whole(small_data, tmp_path):
    labelled = DetectionDataset(small_data, "train", 64)
    pseudo = pseudo_of(small_data, tmp_path / "pseudo")
    with pytest.raises(UsageError, match="above 0 and below 1"):
        mixed_with_pseudo(labelled, pseudo.path, 1.0)
    (pseudo.path / "prints.json").write_text('{"000001.jpg": {}}')
    with pytest.raises(DataError, match=r"prints\.json: is damaged"):
        mixed_with_pseudo(labelled, pseudo.path, 0.5)
    with pytest.raises(DataError, match="not a prepared dataset"):
        mixed_with_pseudo(labelled, tmp_path / "none", 0.5)


def test_copies_are_found_by_bytes_by_source_and_by_pixels(small_data, tmp_path):
    from PIL import Image

    known = prints_of_split(small_data, "val")
    first = known[0].path
    smaller = tmp_path / "smaller.jpg"
    Image.open(first).resize((100, 80)).save(smaller, quality=70)
    other = tmp_path / "other.png"
    Image.effect_noise((100, 80), 90).convert("RGB").save(other)
    named = ImagePrint(other, frozenset({"x", *known[1].hashes}), print_of(other).phash)
    found = copies([print_of(first), print_of(smaller), print_of(other), named], known)
    assert {place: image.path for place, image in found.items()} == {0: first, 1: first, 3: known[1].path}
    assert copies([], known) == {}
    assert copies(known, []) == {}
    back = ImagePrint.from_record(first, json.loads(json.dumps(known[0].record())))
    assert back.hashes == known[0].hashes
    assert (back.phash == known[0].phash).all()
