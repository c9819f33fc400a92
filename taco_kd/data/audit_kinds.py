"""What an audit can find: one line in ``KINDS`` for each kind, and the finding itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from taco_kd.data.records import Finding

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Kind(NamedTuple):
    """How bad it is, what it is called, and what ``--fix`` does about it."""

    severity: Severity
    title: str
    fix: str


KINDS: dict[str, Kind] = {
    "malformed_entry": Kind("error", "entry that is not COCO", "dropped"),
    "repeated_image_id": Kind("error", "image id used twice", "the later record is dropped"),
    "repeated_category_id": Kind("error", "category id used twice", "the later record is dropped"),
    "repeated_annotation_id": Kind("error", "annotation id used twice", "the later one gets a new id"),
    "repeated_class_name": Kind("error", "class name used twice", "none: merge them by hand"),
    "unsafe_file_name": Kind("error", "file name that leaves the folder", "dropped with its annotations"),
    "unknown_image": Kind("error", "annotation of an image that is not listed", "dropped"),
    "unknown_class": Kind("error", "annotation of a class that is not listed", "dropped"),
    "degenerate_box": Kind("error", "box without area in its image", "dropped"),
    "box_out_of_bounds": Kind("error", "box that leaves its image", "clamped to the image"),
    "missing_image": Kind("error", "record without an image file", "dropped with its annotations"),
    "unreadable_image": Kind("error", "file that cannot be decoded", "dropped with its annotations"),
    "size_mismatch": Kind(
        "error", "pixels of other proportions than the record", "dropped with its annotations"
    ),
    "label_turned": Kind("warning", "outlines that fit better when turned", "turned with --turn-labels"),
    "duplicate_box": Kind("warning", "box given twice", "the later one is dropped"),
    "contradicting_boxes": Kind("warning", "one box, two classes", "none: choose by hand"),
    "mask_box_disagree": Kind("warning", "box that does not hold its polygon", "none: choose by hand"),
    "image_listed_twice": Kind("warning", "file listed under two image ids", "none: merge by hand"),
    "duplicate_image": Kind("warning", "image shown twice", "none here: taco-kd prepare keeps the best one"),
    "image_without_record": Kind("warning", "image file that no record names", "none"),
    "said_by_reader": Kind("note", "what the reader of the format had to say", "as it says"),
    "unusable_mask": Kind("note", "polygon that cannot be used", "the polygon is dropped, the box stays"),
    "other_scale": Kind("note", "pixels at another scale than the record", "none needed"),
    "small_box": Kind("note", "box under one pixel wide or high after the resize", "none"),
    "image_without_boxes": Kind("note", "image without a box", "none"),
    "unused_class": Kind("note", "class that no box has", "none"),
}


@dataclass(frozen=True)
class Found:
    """One finding.

    Attributes:
        kind: a key of ``KINDS``.
        line: to read; names the entry and the values.
        image: file name in the annotation file.
        fixed: what was or would be done about it; empty: nothing.
        values: figures that the page draws by.
    """

    kind: str
    line: str
    image: str | None = None
    annotation_id: int | None = None
    fixed: str = ""
    values: dict[str, Any] | None = None

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        given = {key: value for key, value in asdict(self).items() if value not in (None, "")}
        return {"severity": self.severity, **given}

    def finding(self) -> Finding:
        """The same for the record of a prepared dataset."""
        return Finding(self.kind, self.line, self.image, self.annotation_id)
