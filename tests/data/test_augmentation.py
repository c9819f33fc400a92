"""Augmented images: boxes stay on their objects, and everything follows from seed, step and place alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2

from taco_kd.config import AugmentConfig, TrainConfig
from taco_kd.data.augmentation import drawing_from, view, zoomed_and_cut
from taco_kd.data.batch import WHOLE
from taco_kd.data.batches import Batches
from taco_kd.data.copy_paste import paste
from taco_kd.data.dataset import DetectionDataset, UnreadableImageError
from taco_kd.data.iou_crop import IoUCrop
from taco_kd.data.mosaic import mosaic
from taco_kd.data.sample import Reader, Sample
from taco_kd.types import Targets

SIDE = 96
COLOURS = torch.tensor(
    [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], dtype=torch.uint8
)
"""of the classes; the ground is grey"""


class Coloured:
    """Images with rectangles, each class in a colour of its own, so that its boxes can be found again."""

    alike, outlined = DetectionDataset.alike, DetectionDataset.outlined
    image_size = epoch_images = None
    data = SimpleNamespace(path="coloured")

    def __init__(self, seed: int, count: int = 4, *, outlines: bool = True, unreadable: tuple[int, ...] = ()):
        rng = np.random.default_rng(seed)
        self.stored, self.targets, self.outlines, self.unreadable = [], [], [], unreadable
        for number in range(count):
            image = torch.full((3, SIDE, SIDE), 90, dtype=torch.uint8)
            classes = rng.permutation(len(COLOURS))[: rng.integers(0 if number else 1, 4)]
            boxes = []
            for place, which in enumerate(classes):  # one beside the other, so that none is covered
                left, width = 2 + 32 * place + int(rng.integers(0, 8)), int(rng.integers(9, 20))
                top, height = int(rng.integers(0, 40)), int(rng.integers(9, 50))
                image[:, top : top + height, left : left + width] = COLOURS[which][:, None, None]
                boxes.append([left + width / 2, top + height / 2, width, height])
            cxcywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) / SIDE
            self.stored.append(image)
            self.targets.append(Targets(cxcywh, torch.tensor(classes.tolist(), dtype=torch.long), number))
            corners = torch.cat([cxcywh[:, :2] - cxcywh[:, 2:] / 2, cxcywh[:, :2] + cxcywh[:, 2:] / 2], 1)
            self.outlines.append([_rectangle(c) if outlines else () for c in corners.numpy()])

    def __len__(self):
        return len(self.stored)

    def image(self, position):
        if position in self.unreadable:
            raise UnreadableImageError(f"{position}.jpg: cannot be decoded", f"{position}.jpg")
        return self.stored[position]

    def sample(self, position) -> Sample:
        return Reader(self).sample(position)[1]


def _rectangle(corners):
    x0, y0, x1, y1 = corners
    return (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float32),)


def found_by_colour(image: torch.Tensor, which: int) -> list[int] | None:
    """x0, y0, x1, y1 of the pixels that have a class's colour, blends at its edges left out."""
    distance = (image.int() - COLOURS[which].int()[:, None, None]).abs().amax(dim=0)
    rows, columns = (distance < 60).any(dim=1).nonzero(), (distance < 60).any(dim=0).nonzero()
    if not len(rows):
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def assert_boxes_fit_colours(image, targets, *, slack=1.6, each_object=True):
    """Each class's pixels are what the boxes of that class enclose."""
    assert image.dtype == torch.uint8
    corners = (
        torch.cat(
            [
                targets.boxes_cxcywh[:, :2] - targets.boxes_cxcywh[:, 2:] / 2,
                targets.boxes_cxcywh[:, :2] + targets.boxes_cxcywh[:, 2:] / 2,
            ],
            dim=1,
        )
        * image.shape[-1]
    )
    for which in targets.class_ids.unique().tolist():
        boxes = corners[targets.class_ids == which]
        around = torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])
        seen = found_by_colour(image, which)
        if seen is None:
            assert not each_object or (boxes[:, 2:] - boxes[:, :2]).amin() < 2 * slack  # a sliver, blended
            continue
        assert torch.tensor(seen) == pytest.approx(around, abs=slack)


def assert_sound(targets: Targets, classes: int = len(COLOURS)):
    boxes = targets.boxes_cxcywh
    assert boxes.shape == (len(targets.class_ids), 4)
    assert torch.isfinite(boxes).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-5).all()
    assert (boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-5).all()
    assert ((targets.class_ids >= 0) & (targets.class_ids < classes)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_zoomed_and_cut_objects_stay_under_their_boxes(seed, zooms, cuts):
    sample = Coloured(seed).sample(0)
    with drawing_from(seed):
        found, window = zoomed_and_cut(
            sample, AugmentConfig(zoom_out=1, zoom_out_max=2), zooms=zooms, cuts=cuts
        )
    assert found.image.shape == sample.image.shape
    targets = found.targets(0)
    assert_sound(targets)
    scale = 1 / (window[2] - window[0])
    assert_boxes_fit_colours(found.image, targets, slack=1.6 * max(1.0, scale))
    if not zooms and not cuts:
        assert found is sample
    # where the window says the boxes are, there they are
    stored = sample.boxes_xyxy.view(-1, 2, 2) / SIDE
    low, size = torch.tensor(window[:2]), torch.tensor(window[2:]) - torch.tensor(window[:2])
    moved = ((stored - low) / size).clamp(0, 1).flatten(1) * SIDE
    for box in found.boxes_xyxy:
        assert (moved - box).abs().amax(dim=1).min() < 1e-3


def test_our_crop_draws_as_torchvisions_does():
    """Sizes, places, and how often nothing is cut agree in distribution."""
    corners = torch.tensor([[20.0, 20, 50, 80], [60, 10, 90, 60], [5, 70, 15, 95]])
    boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(100, 100))
    found = []
    for crop in (IoUCrop(), v2.RandomIoUCrop()):
        with drawing_from(1):
            drawn = [crop.make_params([boxes]) for _ in range(600)]
        cut = [d for d in drawn if d]
        values = torch.tensor([[d[k] for k in ("top", "left", "height", "width")] for d in cut]).double()
        kept = torch.stack([d["is_within_crop_area"] for d in cut]).double().mean(dim=0)
        found.append((len(cut) / len(drawn), values.mean(dim=0), values.std(dim=0), kept))
    (share, mean, deviation, kept), (other_share, other_mean, other_deviation, other_kept) = found
    assert share == pytest.approx(other_share, abs=0.06)
    assert mean.tolist() == pytest.approx(other_mean.tolist(), abs=3.5)
    assert deviation.tolist() == pytest.approx(other_deviation.tolist(), abs=3.0)
    assert kept.tolist() == pytest.approx(other_kept.tolist(), abs=0.08)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_mosaic_holds_parts_of_four_images_with_their_boxes(seed):
    data = Coloured(seed)
    samples = [data.sample(place) for place in range(4)]
    found = mosaic(samples, np.random.default_rng(seed))
    assert found.image.shape == (3, SIDE, SIDE)
    assert_sound(found.targets(0))
    for number, sample in enumerate(samples):  # each image with the colours of its own objects, by itself
        alone = [
            other if other is sample else Sample(torch.zeros_like(other.image), *_nothing())
            for other in samples
        ]
        part = mosaic(alone, np.random.default_rng(seed))
        assert_boxes_fit_colours(part.image, part.targets(0), slack=2.2)
        assert set(part.class_ids.tolist()) <= set(sample.class_ids.tolist())
        assert len(part.class_ids) <= len(sample.class_ids), number


def _nothing():
    return torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), ()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_pasted_and_covered_objects_have_the_boxes_of_what_is_seen(seed, outlines):
    target, source = Coloured(seed, 1, outlines=outlines).sample(0), Coloured(seed + 1, 1).sample(0)
    # colours of the source that the target does not have, so that each object can be found
    free = [c for c in range(len(COLOURS)) if c not in target.class_ids.tolist()]
    image, classes = source.image.clone(), source.class_ids.clone()
    for place, which in enumerate(source.class_ids.tolist()):
        if place < len(free):
            mask = (source.image == COLOURS[which][:, None, None]).all(dim=0)
            image[:, mask] = COLOURS[free[place]][:, None]
            classes[place] = free[place]
    kept = slice(0, len(free))
    source = Sample(image, source.boxes_xyxy[kept], classes[kept], source.outlines[kept])
    before = target.image.clone()
    found = paste(target, source, np.random.default_rng(seed))
    assert torch.equal(target.image, before)  # what is kept in memory is not painted on
    targets = found.targets(0)
    assert_sound(targets)
    new = [c for c in targets.class_ids.tolist() if c in classes.tolist()]
    assert new
    assert_boxes_fit_colours(found.image, targets, slack=2.5)
    for place, which in enumerate(target.class_ids.tolist()):
        if which not in targets.class_ids.tolist():  # gone: hardly any of it is seen
            whole = int((target.boxes_xyxy[place, 2:] - target.boxes_xyxy[place, :2]).prod())
            left = int((found.image == COLOURS[which][:, None, None]).all(dim=0).sum())
            assert left < 0.2 * whole + 30


def test_a_covered_box_shrinks_to_what_is_seen_and_a_hidden_one_goes():
    side = 40
    image = torch.full((3, side, side), 90, dtype=torch.uint8)
    target = Sample(
        image,
        torch.tensor([[0.0, 0.0, 40.0, 40.0], [10.5, 10.5, 12.5, 12.5]]),
        torch.tensor([0, 1]),
        ((), ()),
    )
    source = Sample(
        torch.full_like(image, 200),
        torch.tensor([[0.0, 0.0, 40.0, 20.0]]),
        torch.tensor([2]),
        (_rectangle((0, 0, 1, 0.5)),),
    )

    class Fixed:
        """As large as it is, in the upper left corner, not mirrored."""

        def random(self, count=None):
            return 0.9 if count is None else np.zeros(count)

        permutation, integers, uniform = (
            staticmethod(np.array),
            staticmethod(lambda high: 0),
            staticmethod(lambda *_: 1.0),
        )

    found = paste(target, source, Fixed())
    assert found.class_ids.tolist() == [0, 2]
    assert found.boxes_xyxy.tolist() == [[0, 20, 40, 40], [0, 0, 40, 20]]
    assert (found.image[:, :20] == 200).all()
    assert (found.image[:, 20:] == 90).all()


ALL = AugmentConfig(photometric=0.5, zoom_out=0.5, iou_crop=0.5, mosaic=0.4, copy_paste=0.4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_view_is_a_pure_function_and_draws_from_nobody_else(seed):
    data = Coloured(seed)
    before = torch.get_rng_state()
    one, other = (
        view(data, 1, ALL, np.random.default_rng(seed), Reader(data), strong=True) for _ in range(2)
    )
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.targets.boxes_cxcywh, other.targets.boxes_cxcywh)
    assert one.window == other.window
    assert torch.equal(torch.get_rng_state(), before)
    assert_sound(one.targets)
    assert one.image.shape == (3, SIDE, SIDE)
    if not one.augmented:
        assert one.image is data.stored[1]
        assert one.targets is data.targets[1]
        assert one.window == WHOLE
    again = Coloured(seed)
    assert all(torch.equal(a, b) for a, b in zip(data.stored, again.stored, strict=True))


def test_without_strong_augmentation_only_colours_change():
    data = Coloured(5)
    for seed in range(20):
        found = view(data, 0, ALL, np.random.default_rng(seed), Reader(data), strong=False)
        assert found.window == WHOLE
        assert found.targets is data.targets[0]
        assert found.augmented or found.image is data.stored[0]


def test_an_image_that_cannot_be_read_is_replaced_by_the_next_one():
    data = Coloured(3, unreadable=(1, 2))
    reader = Reader(data)
    found = view(data, 1, AugmentConfig(), np.random.default_rng(0), reader, strong=True)
    assert found.position == 3
    assert found.targets is data.targets[3]
    assert list(reader.quarantined) == ["1.jpg", "2.jpg"]
    with pytest.raises(UnreadableImageError, match=r"not one of the 4 images can be read"):
        Reader(Coloured(3, unreadable=(0, 1, 2, 3))).read(2)


@pytest.mark.parametrize(
    "augment",
    [
        {"photometric": 1.0},
        {"zoom_out": 1.0},
        {"iou_crop": 1.0},
        {"mosaic": 1.0},
        {"copy_paste": 1.0},
        {"multi_scale": (64, 128)},
    ],
    ids=lambda a: next(iter(a)),
)
def test_batches_of_real_images_are_sound(small_data, augment):
    data = DetectionDataset(small_data, "train", SIDE)
    config = TrainConfig(batch_size=6, augment=AugmentConfig(**augment), horizontal_flip=0.5)
    batches = Batches(data, config, steps_total=20)
    for step in range(3):
        batch = batches.batch(step)
        side = batches.side(step)
        assert batch.images.shape == (6, 3, side, side)
        assert side == SIDE or augment.get("multi_scale")
        for targets in batch.targets:
            assert_sound(targets, len(data.class_names))
        assert batch.indices == tuple(range(6))
        for place, position in enumerate(batch.positions):
            if not batch.augmented[place]:
                stored = data.image(position)
                expected = stored.flip(-1) if batch.mirrored[place] else stored
                assert torch.equal(batch.images[place], expected)


def test_mirroring_twice_changes_nothing(small_data):
    data = DetectionDataset(small_data, "train", SIDE)
    plain, turned = (
        Batches(data, TrainConfig(batch_size=4, horizontal_flip=p), 9).batch(0) for p in (0.0, 1.0)
    )
    assert turned.mirrored == (True,) * 4
    assert torch.equal(turned.images.flip(-1), plain.images)
    for one, other in zip(plain.targets, turned.targets, strict=True):
        back = other.boxes_cxcywh.clone()
        back[:, 0] = 1 - back[:, 0]
        assert torch.allclose(back, one.boxes_cxcywh, atol=1e-6)
        assert torch.equal(one.class_ids, other.class_ids)
