"""A teacher cache under augmentation: nothing of one view is ever said of another."""

from __future__ import annotations

import pytest
import torch
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.config import AugmentConfig, TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset, UnreadableImageError
from taco_kd.distill.output_entries import mirrored, windowed
from taco_kd.distill.teacher_cache import Space, TeacherCache
from taco_kd.models.nms import NOTHING
from taco_kd.models.weights import weights_hash
from taco_kd.train.caching import kept_views
from taco_kd.types import DetectorOutput, FeatureMap

SIDE = 64
MIXED = {"photometric": 0.3, "zoom_out": 0.4, "iou_crop": 0.4, "mosaic": 0.3, "copy_paste": 0.2}


@pytest.fixture(scope="module")
def teacher(small_data):
    torch.manual_seed(3)
    build = next(case.build for case in CASES if case.name == "conditional-detr")
    return build(small_data.class_names).eval()


@pytest.fixture(scope="module")
def data(small_data):
    return DetectionDataset(small_data, "train", SIDE)


@pytest.fixture
def make(teacher, data, tmp_path):
    """A cache of answers with maps, and the sizes of what the teacher was shown."""
    seen: list[torch.Size] = []

    def answer(images):
        seen.append(images.shape)
        sized = torch.nn.functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        with torch.no_grad():
            return teacher(images if images.shape[-1] == SIDE else sized, with_features=True)

    def cache(mode, **changes):
        space = Space(
            weights_hash(teacher.network), teacher.metadata(), ("predictions", "features"), "-", "float32"
        )
        options = {"mode": mode, "stored_image": data.image, "side": SIDE, **changes}
        return TeacherCache(tmp_path, space, answer, **options)

    cache.seen, cache.answer = seen, answer
    return cache


def batches(data, **augment):
    config = TrainConfig(batch_size=6, augment=AugmentConfig(**augment), seed=2)
    return Batches(data, config, 40)


def test_exact_answers_are_those_of_the_very_view(make, data):
    """With every image seen again and again, in other views, as it is, and mirrored."""
    cache, views = make("exact"), batches(data, **MIXED, multi_scale=(64, 96))
    plain = 0
    for step in range(12):
        batch = views.batch(step)
        images = batch.images.float() / 255
        found, expected = cache.output(batch, images), make.answer(images)
        torch.testing.assert_close(found.logits, expected.logits, atol=2e-5, rtol=0)
        torch.testing.assert_close(found.boxes_cxcywh, expected.boxes_cxcywh, atol=2e-5, rtol=0)
        plain += batch.augmented.count(False)
    assert plain > 0
    assert cache.hits + cache.misses == plain
    assert cache.not_kept == 12 * 6 - plain
    cache.flush()
    assert len(cache.store) <= plain


def test_replayed_boxes_are_the_stored_ones_moved_with_the_image(make, data):
    cache, plain = make("replay"), batches(data)
    stored = {}
    for step in range(10):
        batch = plain.batch(step)
        straight = batch.images.clone()
        for place, turned in enumerate(batch.mirrored):
            if turned:
                straight[place] = straight[place].flip(-1)
        answer = make.answer(straight.float() / 255)
        stored |= {p: (answer.logits[n], answer.boxes_cxcywh[n]) for n, p in enumerate(batch.positions)}
    moved = 0
    for step in range(10):
        batch = batches(data, zoom_out=0.6, iou_crop=0.6, photometric=0.2).batch(step)
        found = cache.output(batch, batch.images.float() / 255)
        for place, position in enumerate(batch.positions):
            if position not in stored:
                continue
            logits, boxes = stored[position]
            x0, y0, x1, y1 = batch.windows[place]
            for query in range(len(boxes)):
                cx, cy, w, h = (float(v) for v in boxes[query])
                edges = [(cx - w / 2 - x0) / (x1 - x0), (cy - h / 2 - y0) / (y1 - y0),
                         (cx + w / 2 - x0) / (x1 - x0), (cy + h / 2 - y0) / (y1 - y0)]  # fmt: skip
                inside = x0 < cx < x1 and y0 < cy < y1
                edges = [min(1.0, max(0.0, e)) for e in edges]
                middle = (edges[0] + edges[2]) / 2
                expected = [1 - middle if batch.mirrored[place] else middle, (edges[1] + edges[3]) / 2,
                            edges[2] - edges[0], edges[3] - edges[1]]  # fmt: skip
                if inside:
                    assert found.boxes_cxcywh[place, query].tolist() == pytest.approx(expected, abs=2e-4)
                    torch.testing.assert_close(found.logits[place, query], logits[query], atol=2e-4, rtol=0)
                else:
                    assert (found.logits[place, query] == NOTHING).all()
            moved += batch.windows[place] != (0, 0, 1, 1)
    assert moved > 10
    assert cache.not_kept == 0
    assert cache.misses <= len(data)


def test_mosaics_and_pasted_objects_are_computed_in_replay_mode(make, data):
    cache = make("replay")
    for augment in ({"mosaic": 1.0}, {"copy_paste": 1.0}):
        batch = batches(data, **augment).batch(0)
        images = batch.images.float() / 255
        before, made = cache.not_kept, sum(window is None for window in batch.windows)
        found, expected = cache.output(batch, images), make.answer(images)
        assert cache.not_kept - before == made >= 5
        for place, window in enumerate(batch.windows):
            if window is None:
                torch.testing.assert_close(found.logits[place], expected.logits[place], atol=2e-5, rtol=0)


def test_a_filled_cache_serves_views_without_the_teacher(make, data):
    first, views = make("replay"), batches(data, zoom_out=0.5, iou_crop=0.5)
    for step in range(8):
        batch = views.batch(step)
        first.output(batch, batch.images.float() / 255)
    first.flush()
    again, count = make("replay"), len(make.seen)
    for step in range(8):
        batch = views.batch(step)
        again.output(batch, batch.images.float() / 255)
    assert len(make.seen) == count
    assert again.misses == again.not_kept == 0


def test_an_image_that_is_lost_meanwhile_is_computed(make, data):
    def lost(position):
        raise UnreadableImageError("gone", "gone.jpg")

    cache = make("replay", stored_image=lost)
    batch = batches(data, zoom_out=1.0).batch(0)
    images = batch.images.float() / 255
    torch.testing.assert_close(cache.output(batch, images).logits, make.answer(images).logits)
    assert cache.not_kept == 6


def test_views_of_another_size_have_maps_of_one_size_in_a_feature_teachers_cache(data, tmp_path):
    def maps(images):
        count = len(images)
        features = [FeatureMap(torch.nn.functional.avg_pool2d(images, 8), 8, "C3")]
        return DetectorOutput(torch.zeros(count, 0, 0), torch.zeros(count, 0, 4), features)

    space = Space("hash", {}, ("features",), "-", "float32")
    cache = TeacherCache(tmp_path, space, maps, mode="replay", stored_image=data.image, side=SIDE)
    views = batches(data, mosaic=0.5, multi_scale=(96, 96))
    found = cache.output(views.batch(0), views.batch(0).images.float() / 255)
    assert found.features[0].tensor.shape == (6, 3, 8, 8)


windows = st.tuples(st.floats(-1, 0.6), st.floats(-1, 0.6), st.floats(0.2, 2), st.floats(0.2, 2)).map(
    lambda w: (w[0], w[1], w[0] + w[2], w[1] + w[3])
)


@settings(max_examples=50, deadline=None)
@given(windows, st.integers(0, 99))
def test_moved_boxes_stay_inside_and_move_back(window, seed):
    torch.manual_seed(seed)
    centre, size = torch.rand(8, 2), torch.rand(8, 2) * 0.3
    entry = {"logits": torch.randn(8, 3), "boxes": torch.cat([centre, size], dim=1)}
    moved = windowed(entry, window)
    boxes = moved["boxes"]
    assert torch.isfinite(boxes).all()
    assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-5).all()
    assert (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-5).all()
    x0, y0, x1, y1 = window
    scale = torch.tensor([x1 - x0, y1 - y0])
    for query in range(8):
        low = (boxes[query, :2] - boxes[query, 2:] / 2) * scale + torch.tensor([x0, y0])
        high = (boxes[query, :2] + boxes[query, 2:] / 2) * scale + torch.tensor([x0, y0])
        was_low = (centre[query] - size[query] / 2).maximum(torch.tensor([x0, y0]))
        was_high = (centre[query] + size[query] / 2).minimum(torch.tensor([x1, y1]))
        if (moved["logits"][query] == NOTHING).all():
            continue
        torch.testing.assert_close(low, was_low, atol=1e-4, rtol=0)
        torch.testing.assert_close(high, was_high, atol=1e-4, rtol=0)


def test_maps_move_with_the_image():
    """A ramp is where it was; beyond the image there is nothing; mirrored afterwards it falls."""
    ramp = (torch.arange(16) + 0.5).expand(1, 16, 16) / 16
    entry = {"logits": torch.zeros(1, 1), "boxes": torch.full((1, 4), 0.5), "feature:0:C3:8": ramp}
    half = windowed(entry, (0.25, 0.25, 0.75, 0.75))["feature:0:C3:8"]
    expected = 0.25 + (torch.arange(16) + 0.5) / 32
    torch.testing.assert_close(half[0, 8], expected)
    out = windowed(entry, (-0.5, -0.5, 1.5, 1.5))["feature:0:C3:8"]
    assert out[0, 8, :3].abs().sum() == 0
    assert out[0, 8, 5] < out[0, 8, 10]
    turned = mirrored(windowed(entry, (0.25, 0.25, 0.75, 0.75)))["feature:0:C3:8"]
    torch.testing.assert_close(turned[0, 8], expected.flip(0))


def test_the_estimate_counts_what_can_be_kept(data):
    def views(mode="exact", steps=1000, **augment):
        config = TrainConfig(batch_size=4, augment=AugmentConfig(**augment))
        return kept_views(config, data, steps, mode=mode)

    count = len(data)
    assert views() == (2 * count, "")
    assert views(mode="replay") == (count, "")
    assert views(mode="replay", mosaic=0.5)[1] == "Views made by mosaic are computed and not kept."
    assert views(photometric=1.0) == (0, "Augmented views are computed and not kept.")
    assert views(steps=2, photometric=0.5)[0] == 4
    assert views(steps=100, multi_scale=(96, 128))[0] == 0
