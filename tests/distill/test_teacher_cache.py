"""A teacher's answers, kept: the same numbers, computed once, never those of another teacher or image."""

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.config import TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.distill import cache_estimate, shards
from taco_kd.distill.cache_estimate import Estimate
from taco_kd.distill.output_entries import join, mirrored, split
from taco_kd.distill.shards import ShardStore
from taco_kd.distill.teacher_cache import Space, TeacherCache
from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.models.weights import weights_hash
from taco_kd.types import AttentionMap, DetectorOutput, FeatureMap

STORED = ("predictions", "features")
OTHER = {
    "teacher_hash": "another",
    "stored": ("predictions",),
    "queries": "one per object",
    "precision": "float16",
}


class Counted:
    """A small teacher that counts the images it is shown."""

    def __init__(self, names, *, features=True):
        torch.manual_seed(3)
        build = next(case.build for case in CASES if case.name == "conditional-detr")
        self.model = build(names).eval()
        self.features, self.images = features, 0

    @torch.no_grad()
    def __call__(self, images):
        self.images += len(images)
        return self.model(images, with_features=self.features)

    def space(self, **changes):
        own = Space(weights_hash(self.model.network), self.model.metadata(), STORED, "as they are", "float32")
        return replace(own, **changes)


@pytest.fixture(scope="module")
def teacher(small_data):
    return Counted(small_data.class_names)


@pytest.fixture(scope="module")
def dataset(small_data):
    return DetectionDataset(small_data, "train", 64)


def batch_of(dataset, step, flip=0.5, size=4):
    config = TrainConfig(batch_size=size, seed=1, horizontal_flip=flip)
    batch = Batches(dataset, config, steps_total=step + 1).batch(step)
    return batch, batch.images.float() / 255


def same(a, b, atol):
    torch.testing.assert_close(a.logits, b.logits, atol=atol, rtol=0)
    torch.testing.assert_close(a.boxes_cxcywh, b.boxes_cxcywh, atol=atol, rtol=0)
    assert [(f.name, f.stride) for f in a.features] == [(f.name, f.stride) for f in b.features]
    for one, other in zip(a.features, b.features, strict=True):
        torch.testing.assert_close(one.tensor, other.tensor, atol=atol, rtol=0)
    assert (a.attention is None) == (b.attention is None)
    if a.attention is not None:
        assert (a.attention.height, a.attention.width) == (b.attention.height, b.attention.width)
        torch.testing.assert_close(a.attention.tensor, b.attention.tensor, atol=atol, rtol=0)


@pytest.mark.parametrize(("precision", "atol"), [("float32", 2e-5), ("float16", 5e-3)])
def test_the_cached_answer_is_the_computed_one(teacher, dataset, tmp_path, precision, atol):
    cache = TeacherCache(tmp_path, teacher.space(precision=precision), teacher)
    for step in range(6):  # two epochs with random mirroring: new images, known ones, and both in a batch
        batch, images = batch_of(dataset, step)
        same(cache.output(batch, images), teacher(images), atol)
    assert cache.hits > 0
    assert cache.misses > 0
    cache.flush()
    again = TeacherCache(tmp_path, teacher.space(precision=precision), teacher)
    seen = teacher.images
    for step in range(6):
        batch, images = batch_of(dataset, step)
        same(again.output(batch, images), cache.output(batch, images), 0)
    assert teacher.images == seen
    assert (again.hits, again.misses) == (24, 0)


def test_in_float32_what_is_read_is_what_was_computed_to_the_bit(teacher, dataset, tmp_path):
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    batch, images = batch_of(dataset, 0)
    computed = cache.output(batch, images)
    cache.flush()
    same(TeacherCache(tmp_path, teacher.space(), teacher).output(batch, images), computed, 0)
    same(computed, teacher(images), 0)  # the same batch of four, so the same kernels


def test_replay_mirrors_the_answer_to_the_image_as_stored(teacher, dataset, tmp_path):
    cache = TeacherCache(tmp_path, teacher.space(), teacher, mode="replay")
    plain, images = batch_of(dataset, 0, flip=0)
    straight = cache.output(plain, images)
    seen = teacher.images
    turned, images = batch_of(dataset, 0, flip=1)
    assert all(turned.mirrored)
    assert turned.positions == plain.positions
    replayed = cache.output(turned, images)
    assert teacher.images == seen
    assert torch.equal(replayed.logits, straight.logits)
    assert torch.equal(replayed.boxes_cxcywh[..., 1:], straight.boxes_cxcywh[..., 1:])
    torch.testing.assert_close(replayed.boxes_cxcywh[..., 0], 1 - straight.boxes_cxcywh[..., 0])
    assert torch.equal(replayed.features[0].tensor, straight.features[0].tensor.flip(-1))
    # and filled by mirrored images alone, it still holds the answers to the images as they are stored
    other = TeacherCache(tmp_path / "other", teacher.space(), teacher, mode="replay")
    same(other.output(turned, images), replayed, 2e-5)


@pytest.mark.parametrize("change", OTHER)
def test_a_changed_key_misses(teacher, dataset, tmp_path, change):
    batch, images = batch_of(dataset, 0)
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    cache.output(batch, images)
    cache.flush()
    changed = TeacherCache(tmp_path, teacher.space(**{change: OTHER[change]}), teacher)
    changed.output(batch, images)
    assert (changed.hits, changed.misses) == (0, 4)
    moved = cache.folder / next(cache.folder.glob("*.safetensors")).name
    changed.folder.mkdir(exist_ok=True)
    moved.rename(changed.folder / moved.name)  # even a shard that somebody moved is not mistaken
    changed = TeacherCache(tmp_path, teacher.space(**{change: OTHER[change]}), teacher)
    assert len(changed.store) == 0


def test_another_input_size_or_normalisation_is_another_space(teacher):
    before = teacher.space().hash
    metadata = dict(teacher.model.metadata())
    for key, value in (("image_size", "320"), ("mean", "[0.5, 0.5, 0.5]"), ("class_names", '["x"]')):
        assert teacher.space(teacher={**metadata, key: value}).hash != before


def test_changed_pixels_miss(teacher, small_data, dataset, tmp_path):
    batch, images = batch_of(dataset, 0)
    TeacherCache(tmp_path, teacher.space(), teacher).output(batch, images)
    changed = replace(batch, images=batch.images.clone())
    changed.images[1, 0, 0, 0] ^= 1
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    cache.output(batch, images)
    cache.flush()
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    cache.output(changed, changed.images.float() / 255)
    assert (cache.hits, cache.misses) == (3, 1)
    smaller = DetectionDataset(small_data, "train", 32)
    other, images = batch_of(smaller, 0)
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    cache.output(other, images)
    assert cache.hits == 0


def _damage(shard, how):
    content = bytearray(shard.read_bytes())
    if how == "one byte":
        content[-100] ^= 255
    elif how == "cut":
        del content[-2000:]
    elif how == "header":
        content[:8] = b"\xff" * 8
    else:
        content.clear()
    shard.write_bytes(content)


@pytest.mark.parametrize("how", ["one byte", "cut", "header", "empty"])
def test_a_damaged_shard_is_noticed_and_computed_again(teacher, dataset, tmp_path, how, capsys):
    batch, images = batch_of(dataset, 0)
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    computed = cache.output(batch, images)
    cache.flush()
    (shard,) = cache.folder.glob("*.safetensors")
    _damage(shard, how)
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    same(cache.output(batch, images), computed, 2e-5)
    assert cache.misses == 4
    assert not shard.exists()
    assert cache.store.damaged == 1
    assert str(shard.name) in capsys.readouterr().err.replace("\n", "")
    cache.flush()
    whole = TeacherCache(tmp_path, teacher.space(), teacher)
    same(whole.output(batch, images), computed, 2e-5)
    assert whole.misses == 0


def _fill(folder, start, count):
    store = ShardStore(folder, "space")
    for number in range(start, start + count):
        store.put(f"{number:04d}", {"logits": torch.full((3, 2), float(number))})
        if number % 7 == 0:
            store.flush()
    store.flush()


def test_two_processes_fill_one_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_fill, args=(tmp_path / "s", start, 60)) for start in (0, 30)
    ]  # 30 to 59 come from both
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = ShardStore(tmp_path / "s", "space")
    assert len(store) == 90
    for number in range(90):
        assert torch.equal(store.get(f"{number:04d}")["logits"], torch.full((3, 2), float(number)))
    assert store.damaged == 0
    assert not list((tmp_path / "s").glob(".*"))


def test_what_another_process_writes_is_found_while_this_one_runs(tmp_path):
    reader, writer = ShardStore(tmp_path / "s", "space"), ShardStore(tmp_path / "s", "space")
    assert reader.get("a") is None
    writer.put("a", {"x": torch.ones(2)})
    writer.flush()
    assert torch.equal(reader.get("a")["x"], torch.ones(2))


def test_a_process_killed_in_the_middle_leaves_whole_shards(tmp_path):
    code = (
        "import sys, torch; from pathlib import Path; from taco_kd.distill.shards import ShardStore\n"
        "store = ShardStore(Path(sys.argv[1]), 'space')\n"
        "for n in range(10**9):\n"
        "    store.put(str(n), {'x': torch.full((1000,), float(n))})\n"
        "    print(n, flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE)
    while int(process.stdout.readline()) < 2 * shards.SHARD_ENTRIES + 50:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    store = ShardStore(tmp_path / "s", "space")
    assert len(store) >= 2 * shards.SHARD_ENTRIES
    assert len(store) % shards.SHARD_ENTRIES == 0
    assert all(store.get(str(n))["x"][0] == n for n in range(len(store)))


def test_shards_close_and_open_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_SHARDS", 2)
    store = ShardStore(tmp_path / "s", "space")
    for number in range(5):
        store.put(str(number), {"x": torch.tensor([float(number)])})
        store.flush()
    assert [store.get(str(n % 5))["x"].item() for n in range(12)] == [n % 5 for n in range(12)]
    assert len(store._open) == 2


def test_a_disk_that_takes_no_more_ends_the_storing_and_not_the_run(tmp_path, monkeypatch, capsys):
    store = ShardStore(tmp_path / "s", "space")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "save_file", full)
    for number in range(3):
        store.put(str(number), {"x": torch.ones(1)})
        store.flush()
    assert capsys.readouterr().err.count("not stored any more") == 1
    assert list((tmp_path / "s").iterdir()) == []


def test_the_estimate_is_what_the_disk_then_holds(teacher, dataset, tmp_path):
    cache = TeacherCache(tmp_path, teacher.space(), teacher)
    batch, images = batch_of(dataset, 0, flip=0, size=len(dataset))
    estimate = cache.estimate(batch, images, views=len(dataset))
    cache.output(batch, images)
    cache.flush()
    held = sum(f.stat().st_size for f in cache.folder.glob("*.safetensors"))
    assert held == pytest.approx(estimate.needed_bytes, rel=0.01)
    assert f"{len(dataset)} answers of" in estimate.line(cache.folder)
    assert cache.estimate(batch, images, views=len(dataset)).needed_bytes == 0


def test_a_disk_without_room_is_refused_before_anything_is_written(teacher, tmp_path):
    cache = TeacherCache(tmp_path / "c", teacher.space(), teacher)
    with pytest.raises(MissingResourceError, match=r"needs 2\.0 MB and the disk has 1\.0 MB free"):
        Estimate(views=2000, there=0, bytes_each=1000, free_bytes=1_000_000).require_room(cache.folder)
    Estimate(views=2000, there=1900, bytes_each=1000, free_bytes=1_000_000).require_room(cache.folder)
    assert not (tmp_path / "c").exists()


def test_a_file_is_no_cache(teacher, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        TeacherCache(tmp_path / "file", teacher.space(), teacher)


@pytest.mark.parametrize(
    ("count", "words"), [(999, "999 B"), (1500, "2 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_sizes_for_people(count, words):
    assert cache_estimate.size(count) == words


@given(
    images=st.integers(1, 3),
    queries=st.integers(0, 5),
    classes=st.integers(1, 4),
    levels=st.integers(0, 2),
    attends=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_splitting_joining_and_mirroring_twice_change_nothing(
    images, queries, classes, levels, attends, seed
):
    torch.manual_seed(seed)
    output = DetectorOutput(
        torch.randn(images, queries, classes),
        torch.rand(images, queries, 4),
        [FeatureMap(torch.randn(images, 2, 3, 4), 16, f"P{level}") for level in range(levels)],
        attention=AttentionMap(torch.rand(images, 2, 6, 6), 2, 3) if attends else None,
    )
    entries = split(output, dtype=torch.float32)
    same(join(entries, device="cpu"), output, 0)
    same(join([mirrored(mirrored(entry)) for entry in entries], device="cpu"), output, 1e-6)


def test_attention_is_mirrored_place_by_place():
    grid = torch.zeros(1, 2, 3, 2, 3)
    grid[0, 0, 0, 1, 2] = 1  # the place above left looks at the one below right
    entry = {"logits": torch.ones(1, 1), "boxes": torch.ones(1, 4), "attention:2:3": grid.reshape(1, 6, 6)}
    turned = mirrored(entry)["attention:2:3"].reshape(1, 2, 3, 2, 3)
    assert turned.sum() == 1
    assert turned[0, 0, 2, 1, 0] == 1


def test_images_with_fewer_queries_are_filled_up_with_nothing():
    few, many = (
        {"logits": torch.ones(1, 2), "boxes": torch.ones(1, 4)},
        {
            "logits": torch.ones(3, 2),
            "boxes": torch.ones(3, 4),
        },
    )
    joined = join([few, many], device="cpu")
    assert joined.logits.shape == (2, 3, 2)
    assert joined.logits[0, 1:].sigmoid().max() < 1e-8
