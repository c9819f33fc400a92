"""Small pictures of the images that were compared, so that a reader can judge pairs of which one is gone."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from taco_kd.config import PrepareConfig
from taco_kd.data.dedup import Duplicates
from taco_kd.data.geometry import Placement
from taco_kd.data.output import output_name
from taco_kd.data.records import ImageRecord
from taco_kd.runs import DataDir

REVIEW_SIDE = 360
"""Longer side in pixels of the pictures."""
MAX_PAIRS = 300
"""Pairs that get pictures: the accepted first, then the rejected, each in the order of ids."""


def write_review(
    data: DataDir, found: Duplicates, images: Mapping[int, ImageRecord], config: PrepareConfig
) -> None:
    """Pictures of the members of pairs, of the prepared images before they are sorted into splits."""
    pairs = (*found.pairs, *found.rejected)[:MAX_PAIRS]
    for image_id in sorted({i for pair in pairs for i in pair.image_ids}):
        record = images[image_id]
        place = Placement.of(record.width, record.height, size=config.size, mode=config.mode)
        content = (place.left, place.top, place.left + place.content_width, place.top + place.content_height)
        scale = REVIEW_SIDE / max(record.width, record.height)
        size = (max(1, round(record.width * scale)), max(1, round(record.height * scale)))
        target = data.review_file(image_id)
        target.parent.mkdir(exist_ok=True)
        with Image.open(data.path / "images" / output_name(image_id)) as square:
            square.crop(content).resize(size, Image.Resampling.BICUBIC).save(target, quality=82)
