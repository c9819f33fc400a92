"""Near-duplicates on fingerprints made by hand and on drawn photographs."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from taco_kd.data.dedup import Fingerprint, find_duplicates
from taco_kd.data.pixel_check import MAX_CELL_DIFFERENCE, pixel_difference


def photograph(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Smooth random colours: as much structure at coarse scales as an outdoor photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def thumbnail(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((32, 32), Image.Resampling.BOX))


def fingerprint(image_id: int, image: Image.Image, *, boxes: int = 1, sha256: str = "") -> Fingerprint:
    phash = imagehash.phash(image).hash.ravel()
    name = sha256 or f"sha of {image_id}"
    return Fingerprint(image_id, name, phash, thumbnail(image), image.width * image.height, boxes)


def copy_of(image: Image.Image) -> Image.Image:
    grown = image.resize((round(image.width * 1.02), round(image.height * 1.02)))
    return ImageEnhance.Brightness(grown).enhance(1.06)


def test_copies_are_found_and_the_best_is_kept() -> None:
    originals = {i: photograph(i) for i in range(12)}
    prints = [fingerprint(i, image) for i, image in originals.items()]
    prints += [fingerprint(100 + i, copy_of(originals[i])) for i in (3, 8)]
    found = find_duplicates(prints, hash_threshold=4)
    assert [pair.image_ids for pair in found.pairs] == [(3, 103), (8, 108)]
    assert found.removed_ids == {3, 8}  # the copies are larger
    assert [pair.kept_id for pair in found.pairs] == [103, 108]


def test_best_is_by_size_then_boxes_then_id() -> None:
    image = photograph(0)
    small = image.resize((160, 120))
    assert find_duplicates(
        [fingerprint(1, small, boxes=9), fingerprint(2, image)], hash_threshold=4
    ).removed_ids == {1}
    same_size = [fingerprint(1, image), fingerprint(2, image, boxes=3), fingerprint(3, image, boxes=3)]
    assert find_duplicates(same_size, hash_threshold=4).removed_ids == {1, 3}


def test_equal_bytes_are_found_without_hashes() -> None:
    image = photograph(0)
    prints = [fingerprint(i, image, sha256="same") for i in (5, 6, 7)]
    found = find_duplicates(prints, hash_threshold=0)
    assert found.removed_ids == {6, 7}
    assert all(pair.equal_bytes and pair.pixel_difference == 0 for pair in found.pairs)


def test_equal_hashes_of_different_pictures_are_rejected() -> None:
    a, b = fingerprint(1, photograph(1)), fingerprint(2, photograph(2))
    b = Fingerprint(2, b.sha256, a.phash, b.thumbnail, b.pixel_count, b.box_count)
    found = find_duplicates([a, b], hash_threshold=0)
    assert (found.pairs, found.removed_ids, found.candidates_rejected) == ((), frozenset(), 1)


def test_object_in_only_one_of_two_shots_keeps_both() -> None:
    before = photograph(4)
    after = before.copy()
    ImageDraw.Draw(after).rectangle((100, 100, 124, 118), fill="white")  # 0.6 % of the image
    assert pixel_difference(thumbnail(before), thumbnail(after)) > MAX_CELL_DIFFERENCE
    same_hash = find_duplicates([fingerprint(1, before), fingerprint(2, after)], hash_threshold=32)
    assert not same_hash.removed_ids


def test_flat_images_of_different_colours_differ() -> None:
    red, green = (np.full((32, 32, 3), colour, dtype=np.uint8) for colour in ((200, 0, 0), (0, 200, 0)))
    assert pixel_difference(red, green) == 255.0
    assert pixel_difference(red, red) == 0.0


def test_pixel_difference_is_symmetric_and_does_not_flatten_contrast() -> None:
    flat = np.full((32, 32, 3), 128, dtype=np.uint8)
    textured = np.asarray(thumbnail(photograph(9)))
    assert pixel_difference(flat, textured) == pytest.approx(pixel_difference(textured, flat))
    assert pixel_difference(flat, textured) > MAX_CELL_DIFFERENCE


def test_many_images_of_one_hash_are_grouped_by_their_pixels() -> None:
    pictures = [fingerprint(0, photograph(seed)) for seed in (1, 2)]
    crowd = [Fingerprint(k, str(k), pictures[0].phash, pictures[k % 2].thumbnail, 10, 0) for k in range(200)]
    found = find_duplicates(crowd, hash_threshold=4)
    assert found.removed_ids == set(range(2, 200))
    assert len(found.pairs) == 198  # each with the first of its picture, not with all


def test_embedding_candidates_are_looked_at_too() -> None:
    image = photograph(3)
    flipped = np.arange(64) < 30  # a copy whose hash says nothing
    a, b, c = fingerprint(1, image), fingerprint(2, copy_of(image)), fingerprint(3, photograph(4))
    b = Fingerprint(2, b.sha256, a.phash ^ flipped, b.thumbnail, b.pixel_count, b.box_count)
    assert not find_duplicates([a, b, c], hash_threshold=4).pairs
    found = find_duplicates([a, b, c], hash_threshold=4, near=[(2, 1, 0.99), (1, 3, 0.97)])
    assert [(p.image_ids, p.found_by, p.kept_id) for p in found.pairs] == [((1, 2), "embedding", 2)]
    assert [(p.image_ids, p.similarity) for p in found.rejected] == [((1, 3), 0.97)]


def test_groups_are_chains_and_nothing_is_removed_from_nothing() -> None:
    assert find_duplicates([], hash_threshold=4).pairs == ()
    base = fingerprint(0, photograph(0))
    bits = [base.phash ^ (np.arange(64) < count) for count in (0, 4, 8)]  # 0-4 and 4-8 match, 0-8 do not
    chain = [
        Fingerprint(i, str(i), b, base.thumbnail, base.pixel_count, base.box_count)
        for i, b in enumerate(bits)
    ]
    found = find_duplicates(chain, hash_threshold=4)
    assert found.removed_ids == {1, 2}
    assert [pair.image_ids for pair in found.pairs] == [(0, 1), (1, 2)]
