"""Where the pixels of a photo lie in the square image, and the same map for its boxes and polygons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image

from taco_kd.data.records import Annotation, Box

Mode = Literal["stretch", "letterbox"]

LETTERBOX_GREY = 114
"""Grey level of the bars, as YOLO models pad: Ultralytics, YOLOX."""


@dataclass(frozen=True)
class Placement:
    """A ``width`` x ``height`` photo resized to ``content_width`` x ``content_height`` pixels, whose upper
    left corner lies at (``left``, ``top``) of a ``size`` x ``size`` image."""

    width: int
    height: int
    size: int
    left: int
    top: int
    content_width: int
    content_height: int

    @classmethod
    def of(cls, width: int, height: int, *, size: int, mode: Mode) -> Placement:
        """``stretch`` fills the square and changes proportions (the paper); ``letterbox`` keeps them, up to
        the rounding to whole pixels, centres the photo and pads with grey."""
        if mode == "stretch":
            return cls(width, height, size, 0, 0, size, size)
        scale = size / max(width, height)
        content_width = min(size, max(1, round(width * scale)))
        content_height = min(size, max(1, round(height * scale)))
        left, top = (size - content_width) // 2, (size - content_height) // 2
        return cls(width, height, size, left, top, content_width, content_height)

    @property
    def scales(self) -> tuple[float, float]:
        """Factors in x and y; they differ a little in a letterbox, since pixels are whole."""
        return self.content_width / self.width, self.content_height / self.height

    def render(self, upright: Image.Image) -> Image.Image:
        """The square image of an RGB photo, which may have been decoded at another scale."""
        content = upright.resize((self.content_width, self.content_height), Image.Resampling.BICUBIC)
        if content.size == (self.size, self.size):
            return content
        square = Image.new("RGB", (self.size, self.size), (LETTERBOX_GREY,) * 3)
        square.paste(content, (self.left, self.top))
        return square

    def place(self, annotation: Annotation, *, truncate: bool = False) -> Annotation:
        """The object in pixels of the square image, in floating point.

        Args:
            truncate: cut left, top, width and height of the box to whole pixels, as the authors of RT-CO-DETR
                made their labels. Boxes narrower than a pixel lose all of their width; polygons stay.
        """
        scaled = annotation.scaled(*self.scales)
        x, y, w, h = map(float, map(int, scaled.bbox_xywh)) if truncate else scaled.bbox_xywh
        x, y = x + self.left, y + self.top
        box = (x, y, min(w, self.size - x), min(h, self.size - y))  # the last bit of a product may stick out
        polygons = tuple(
            tuple(v + (self.top if k % 2 else self.left) for k, v in enumerate(polygon))
            for polygon in scaled.segmentation
        )
        return replace(scaled, bbox_xywh=box, segmentation=polygons)

    def photo_box(self, bbox_xywh: Box) -> Box:
        """A box of the square image in pixels of the photo: the way back."""
        x, y, w, h = bbox_xywh
        x_scale, y_scale = self.scales
        return ((x - self.left) / x_scale, (y - self.top) / y_scale, w / x_scale, h / y_scale)
