"""Settings of augmentation: what training images go through before a model sees them. All of it off by
default."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from taco_kd.config.base import Settings

SIDE_STEP = 32
"""Sides of multi-scale training are multiples of this, the coarsest stride of the detectors."""


class AugmentConfig(Settings):
    photometric: float = Field(0.0, ge=0, le=1)
    """probability of distorting brightness, contrast, saturation, hue and the order of the channels, each of
    them in half of these images"""
    zoom_out: float = Field(0.0, ge=0, le=1)
    """probability of shrinking the image onto a black canvas"""
    zoom_out_max: float = Field(4.0, gt=1, le=16)
    """largest side of that canvas, as a multiple of the image's"""
    iou_crop: float = Field(0.0, ge=0, le=1)
    """probability of cutting out a part that overlaps an object by a drawn share (SSD's crop)"""
    mosaic: float = Field(0.0, ge=0, le=1)
    """probability of putting the image together with three others; such an image is neither zoomed out nor
    cut"""
    copy_paste: float = Field(0.0, ge=0, le=1)
    """probability of pasting objects of another image, cut out along their outlines"""
    multi_scale: tuple[int, int] | None = None
    """smallest and largest side of the images; one is drawn for each step, a multiple of 32"""
    stop_epochs: int = Field(0, ge=0)
    """in the last so many epochs only the mirror and photometric distortion go on"""

    @field_validator("multi_scale")
    @classmethod
    def _sides(cls, sides: tuple[int, int] | None) -> tuple[int, int] | None:
        if sides is not None:
            for side in sides:
                if side < SIDE_STEP or side > 4096 or side % SIDE_STEP:
                    raise ValueError(f"{side}: sides are multiples of {SIDE_STEP}, up to 4096")
            if sides[0] > sides[1]:
                raise ValueError(f"{list(sides)}: give the smallest side first")
        return sides

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stop_epochs and not self.strong:
            raise ValueError(
                f"stop_epochs = {self.stop_epochs}, but there is nothing to stop: zoom_out, iou_crop, "
                "mosaic, copy_paste and multi_scale are off"
            )
        return self

    @property
    def strong(self) -> bool:
        """Whether anything that ``stop_epochs`` stops is on."""
        return self.multi_scale is not None or any(
            (self.zoom_out, self.iou_crop, self.mosaic, self.copy_paste)
        )

    @property
    def on(self) -> bool:
        """Whether anything is on."""
        return self.strong or self.photometric > 0
