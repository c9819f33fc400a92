"""Batches from any number of processes and ranks are the same, and loading ends with the training process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from taco_kd.config import AugmentConfig, TrainConfig, load_recipe
from taco_kd.data import loading
from taco_kd.data.batch import mirrored_targets
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.loading import training_batches, worker_count
from taco_kd.data.mixture import MixedDataset
from taco_kd.errors import DataError, UsageError

SIDE = 64
STRONG = AugmentConfig(
    photometric=0.5, zoom_out=0.3, iou_crop=0.5, mosaic=0.3, copy_paste=0.3, multi_scale=(32, 96)
)


@pytest.fixture(scope="module")
def data(small_data):
    return DetectionDataset(small_data, "train", SIDE)


def same(one, other):
    assert torch.equal(one.images, other.images)
    for a, b in zip(one.targets, other.targets, strict=True):
        assert torch.equal(a.boxes_cxcywh, b.boxes_cxcywh)
        assert torch.equal(a.class_ids, b.class_ids)
        assert a.image_id == b.image_id
    for name in ("positions", "mirrored", "indices", "augmented", "windows", "quarantined"):
        assert getattr(one, name) == getattr(other, name), name


def batches_of(data, config, steps_total=6, **where):
    with closing(training_batches(data, config, first_step=0, steps_total=steps_total, **where)) as found:
        return list(found)


def as_always(dataset, step, *, batch_size, seed, horizontal_flip):
    """The batch of a step as it was before there was any augmentation but a mirror."""
    positions, (epoch, place) = dataset.step_positions(step, batch_size=batch_size, seed=seed)
    batch = dataset.batch(positions)
    turned = np.random.default_rng([seed, epoch, place, 1]).random(len(positions)) < horizontal_flip
    images, targets = batch.images, list(batch.targets)
    for i in np.flatnonzero(turned):
        images[i] = images[i].flip(-1)
        targets[i] = mirrored_targets(targets[i])
    return replace(batch, images=images, targets=targets, mirrored=tuple(turned.tolist()))


def test_without_augmentation_batches_are_what_they_always_were(data):
    config = TrainConfig(batch_size=5, seed=3)
    for step, batch in enumerate(batches_of(data, config, 8)):
        before = as_always(data, step, batch_size=5, seed=3, horizontal_flip=0.5)
        same(batch, before)


def test_the_number_of_processes_changes_nothing(data):
    config = TrainConfig(batch_size=5, augment=STRONG)
    expected = batches_of(data, config.model_copy(update={"workers": 0}))
    found = batches_of(data, config.model_copy(update={"workers": 2}))
    assert len(found) == 6
    for one, other in zip(expected, found, strict=True):
        same(one, other)


def test_a_mixture_goes_through_processes_too(small_data, data):
    mixed = MixedDataset(data, DetectionDataset(small_data, "val", SIDE), 0.4)
    config = TrainConfig(batch_size=5, augment=STRONG, sampling="class-balanced")
    expected = batches_of(mixed, config.model_copy(update={"workers": 0}), 4)
    found = batches_of(mixed, config.model_copy(update={"workers": 1}), 4)
    for one, other in zip(expected, found, strict=True):
        same(one, other)
        assert sum(t.image_id < 0 for t in one.targets) == 2
    # partners of a mosaic come from the same part, so the share of pseudo-labels stays what it is
    assert mixed.alike(0) == range(len(data))
    assert mixed.alike(len(data)) == range(len(data), len(mixed))


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_a_batch_without_gaps(data, world):
    config = TrainConfig(batch_size=5, augment=STRONG, workers=0)
    whole = batches_of(data, config, 3)
    parts = [batches_of(data, config, 3, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        begun = 0
        for rank in range(world):
            part = parts[rank][step]
            assert part.images.shape[1:] == batch.images.shape[1:]
            same(part, batch.part(begun, begun + len(part)))
            begun += len(part)
        assert begun == 5


def test_a_resumed_run_meets_the_same_batches(data):
    config = TrainConfig(batch_size=4, augment=STRONG, workers=0)
    whole = batches_of(data, config, 5)
    with closing(training_batches(data, config, first_step=3, steps_total=5)) as late:
        for one, other in zip(whole[3:], late, strict=True):
            same(one, other)


def test_strong_augmentation_stops_before_the_end(data):
    per_epoch = len(data) // 4
    augment = STRONG.model_copy(update={"stop_epochs": 2, "photometric": 0.0})
    config = TrainConfig(batch_size=4, augment=augment)
    batches = Batches(data, config, steps_total=5 * per_epoch)
    assert batches.strong_steps == 3 * per_epoch
    assert any(batches.batch(batches.strong_steps - 1).augmented)
    last = batches.batch(batches.strong_steps)
    assert not any(last.augmented)
    assert last.images.shape[-1] == SIDE


def test_a_stop_that_leaves_nothing_is_refused(data):
    augment = STRONG.model_copy(update={"stop_epochs": 5})
    per_epoch = len(data) // 4
    config = TrainConfig(batch_size=4, augment=augment)
    for steps in (5 * per_epoch, 2 * per_epoch):
        with pytest.raises(
            UsageError, match=rf"stop_epochs = 5, but the run has {steps // per_epoch} epochs"
        ):
            training_batches(data, config, first_step=0, steps_total=steps)
    assert Batches(data, config, 6 * per_epoch).strong_steps == per_epoch


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.augment.mosaic=1.5", "train.augment.mosaic = 1.5"),
        ("train.augment.multi_scale=[480, 650]", "650: sides are multiples of 32"),
        ("train.augment.multi_scale=[640, 480]", "smallest side first"),
        ("train.augment.stop_epochs=3", "there is nothing to stop"),
        ("train.augment.mosiac=1", "unknown setting 'train.augment.mosiac'"),
        ("train.sampling=balanced", "train.sampling = 'balanced'"),
        ("train.workers=-1", "train.workers = -1"),
    ],
)
def test_wrong_settings_are_named(setting, words):
    with pytest.raises(UsageError, match=words.replace("[", r"\[")):
        load_recipe("nano-baseline", [setting])


def test_copy_paste_without_outlines_is_refused(small_data):
    data = DetectionDataset(small_data, "train", SIDE)
    data.outlines = [[() for _ in outlines] for outlines in data.outlines]
    with pytest.raises(UsageError, match="no outlines"):
        training_batches(
            data, TrainConfig(augment=AugmentConfig(copy_paste=0.5)), first_step=0, steps_total=5
        )


def test_processes_are_started_where_they_are_of_use(data, monkeypatch):
    monkeypatch.setattr(loading, "usable_cores", lambda: 4)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    plain, strong = TrainConfig(), TrainConfig(augment=STRONG)
    assert worker_count(data, plain) == 0
    assert worker_count(data, strong) == 3
    assert worker_count(data, strong, world=2) == 1
    assert worker_count(data, TrainConfig(workers=5)) == 5
    monkeypatch.setattr(loading, "CACHE_BYTES", data.decoded_bytes - 1)
    assert worker_count(data, plain) == 3


def damage(small_data, tmp_path, names):
    """A copy of the dataset with these training images, by their place, unusable."""
    import shutil

    from taco_kd.runs import DataDir

    shutil.copytree(small_data.path, tmp_path / "data")
    copy = DataDir(tmp_path / "data")
    files = [copy.image_file("train", i["file_name"]) for i in copy.coco("train")["images"]]
    for place, how in names.items():
        if how == "gone":
            files[place].unlink()
        elif how == "cut":
            files[place].write_bytes(files[place].read_bytes()[:700])
        else:
            files[place].write_bytes(b"no image at all")
    return copy, files


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_replaced_and_named(small_data, tmp_path, workers):
    copy, files = damage(small_data, tmp_path, {1: "gone", 4: "cut", 5: "other"})
    data = DetectionDataset(copy, "train", SIDE)
    config = TrainConfig(batch_size=len(data), workers=workers)
    for batch in batches_of(data, config, 4):
        assert set(batch.quarantined) == {str(files[place]) for place in (1, 4, 5)}
        assert sorted(batch.positions).count(2) == 2  # the next one that can be read is in its place
        assert sorted(batch.positions).count(6) == 3
        for place, position in enumerate(batch.positions):
            assert batch.targets[place].image_id == data.targets[position].image_id
    with pytest.raises(DataError, match="cannot be decoded"):
        data.batch([1])  # as evaluation reads them


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_to_read_ends_the_run_in_one_line(small_data, tmp_path, workers):
    whole = DetectionDataset(small_data, "train", SIDE)
    copy, _ = damage(small_data, tmp_path, dict.fromkeys(range(len(whole)), "gone"))
    data = DetectionDataset(copy, "train", SIDE)
    with pytest.raises(DataError, match=r"not one of the \d+ images can be read") as caught:
        batches_of(data, TrainConfig(batch_size=4, workers=workers), 4)
    assert "\n" not in str(caught.value)


TRAINER = """
import os, signal, sys, time
from contextlib import closing
from pathlib import Path
from taco_kd.config import AugmentConfig, TrainConfig
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.loading import training_batches
from taco_kd.runs import DataDir

def main():
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(1))
    data = DetectionDataset(DataDir(Path(sys.argv[1])), "train", 64)
    config = TrainConfig(batch_size=4, workers=2, augment=AugmentConfig(photometric=1.0))
    with closing(training_batches(data, config, first_step=0, steps_total=10**6)) as batches:
        for step, batch in enumerate(batches):
            print(step, flush=True)
            time.sleep(0.02)
            if stop:
                for _ in range(8):  # more than was made ahead: the processes still work
                    next(batches)
                break
    print("end", flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def trainer(small_data, tmp_path):
    """A training process of its own group that has begun to take batches from two others."""
    (tmp_path / "trainer.py").write_text(TRAINER)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "trainer.py"), str(small_data.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(loading.__file__).parents[2])},
    )
    for line in process.stdout:
        if int(line) >= 12:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    yield process, children
    for each in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.kill()
    process.communicate()


def all_gone(children, seconds=20):
    _, alive = psutil.wait_procs(children, timeout=seconds)
    return not alive


def test_loading_ends_with_a_killed_trainer(trainer):
    process, children = trainer
    assert len(children) >= 2
    process.kill()
    assert all_gone(children)


def test_a_stop_of_the_whole_group_leaves_the_step_its_batches(trainer):
    process, children = trainer
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "end"
    assert errors == ""
    assert process.returncode == 0
    assert all_gone(children)


def test_a_killed_loading_process_is_one_clear_line(trainer):
    process, children = trainer
    loaders = [c for c in children if "resource_tracker" not in " ".join(c.cmdline())]
    leaf = max(loaders, key=lambda c: c.create_time())
    leaf.kill()
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines()[-1].startswith(
        "taco_kd.errors.TacoKDError: a process that loads images is gone"
    )
    assert all_gone(children)
