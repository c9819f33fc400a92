"""One self-contained HTML page about an audit: what was found, pictures of it, histograms."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageOps

from taco_kd import __version__
from taco_kd.data.audit import Audit, PartAudit
from taco_kd.data.audit_kinds import KINDS, Found, Kind
from taco_kd.data.audit_pixels import as_annotation
from taco_kd.data.audit_statistics import SIDE_EDGES_PX, Statistics
from taco_kd.data.label_turns import turned
from taco_kd.data.leakage import Leakage
from taco_kd.data.records import Annotation
from taco_kd.files import write_text
from taco_kd.report.templates import own_text, template

MAX_LINES = 100
"""Lines of one kind on the page; audit.json has all."""
MAX_PICTURES = 24
MAX_BORDER_PAIRS = 12
PICTURED = ("label_turned", "box_out_of_bounds", "contradicting_boxes", "mask_box_disagree", "duplicate_box")
_SIDE_PX = 420


@dataclass(frozen=True)
class Shape:
    """An outline as points of an SVG, and the class of its colour."""

    points: str
    kind: str


@dataclass(frozen=True)
class Picture:
    """A finding drawn over its image."""

    found: Found
    uri: str
    width: int
    height: int
    shapes: list[Shape]


@dataclass(frozen=True)
class Border:
    """An image of train beside one of val that looks like it."""

    uris: tuple[str | None, str | None]
    names: tuple[str, str]
    near_duplicate: bool
    correlation: float
    hash_distance_bits: int


@dataclass(frozen=True)
class Group:
    """All findings of one kind; ``lines`` are the first of them."""

    kind: Kind
    count: int
    lines: list[Found]


def audit_page(audit: Audit, out: Path) -> Path:
    """Write the page to ``out`` and return it; it loads nothing from the network."""
    found = audit.found
    groups = [
        Group(KINDS[kind], number, [f for f in found if f.kind == kind][:MAX_LINES])
        for kind, number in audit.counts().items()
    ]
    html = template("audit.html").render(
        name=audit.path.resolve().name,
        version=__version__,
        style=own_text("style.css") + own_text("audit.css"),
        parts=audit.parts,
        groups=groups,
        errors=sum(g.count for g in groups if g.kind.severity == "error"),
        warnings=sum(g.count for g in groups if g.kind.severity == "warning"),
        notes=sum(g.count for g in groups if g.kind.severity == "note"),
        pictures=[p for part in audit.parts for p in _pictures(part)][:MAX_PICTURES],
        classes=_classes(audit.parts),
        sizes=[(part.source.name, _size_rows(part.statistics), part.statistics) for part in audit.parts],
        leakage=audit.leakage,
        border=[] if audit.leakage is None else _border(audit, audit.leakage),
    )
    write_text(out, html.lstrip())
    return out


def _classes(parts: Sequence[PartAudit]) -> list[tuple[str, list[int], float]]:
    """(class, boxes in each part, share of the largest class), most boxes first."""
    tables = [dict(part.statistics.per_class) for part in parts]
    names = sorted(
        {n for table in tables for n in table}, key=lambda n: (-sum(t.get(n, 0) for t in tables), n)
    )
    most = max([sum(t.get(n, 0) for t in tables) for n in names], default=0) or 1
    return [(n, [t.get(n, 0) for t in tables], sum(t.get(n, 0) for t in tables) / most) for n in names]


def _size_rows(counted: Statistics) -> list[tuple[str, int, int, float, float]]:
    """(range, boxes before, boxes after, and both as shares of the largest bin)."""
    before, after = counted.native_by_box.histogram, counted.resized_by_box.histogram
    most = max([*before, *after, 1])
    labels = [f"{a}–{b}" for a, b in pairwise(SIDE_EDGES_PX)] + [f"≥ {SIDE_EDGES_PX[-1]}"]
    return [(label, b, a, b / most, a / most) for label, b, a in zip(labels, before, after, strict=True)]


def _pictures(part: PartAudit) -> list[Picture]:
    if part.source.images is None:
        return []
    by_name = {image.file_name: image for image in part.inspected.images.values()}
    drawn = []
    for kind in PICTURED:
        for found in [f for f in part.found if f.kind == kind and f.image in by_name][:MAX_PICTURES]:
            image = by_name[str(found.image)]
            if (uri := picture_uri(part.source.images / image.file_name, image.width, image.height)) is None:
                continue
            own = [as_annotation(a) for a in part.inspected.annotations if a.image_id == image.id]
            if found.annotation_id is not None and kind != "label_turned":
                own = [a for a in own if a.id == found.annotation_id] or own
            shapes = [s for a in own for s in _shapes(a, "as-is", boxes=kind != "label_turned")]
            if kind == "label_turned" and found.values is not None:
                better = [turned(a, found.values["degrees"], image.width, image.height) for a in own]
                shapes += [s for a in better for s in _shapes(a, "better-turn", boxes=False)]
            drawn.append(Picture(found, uri, image.width, image.height, shapes))
    return drawn


def _shapes(annotation: Annotation, kind: str, *, boxes: bool) -> list[Shape]:
    x, y, w, h = annotation.bbox_xywh
    box = (x, y, x + w, y, x + w, y + h, x, y + h)
    outlines = [box] if boxes or not annotation.segmentation else list(annotation.segmentation)
    return [
        Shape(" ".join(f"{p[k]:.1f},{p[k + 1]:.1f}" for k in range(0, len(p) - 1, 2)), kind) for p in outlines
    ]


def _border(audit: Audit, leak: Leakage) -> list[Border]:
    images = {}
    for part in audit.parts:
        for image in part.inspected.images.values():
            images[image.id] = (part.source.images, image)
    shown = []
    for pair in leak.pairs[:MAX_BORDER_PAIRS]:
        sides = [images[pair.train_id], images[pair.val_id]]
        uris = [
            None if f is None else picture_uri(f / i.file_name, i.width, i.height, side_px=260)
            for f, i in sides
        ]
        names = [i.file_name for _, i in sides]
        shown.append(
            Border(
                (uris[0], uris[1]),
                (names[0], names[1]),
                pair.near_duplicate,
                pair.correlation,
                pair.hash_distance_bits,
            )
        )
    return shown


def picture_uri(file: Path, width: int, height: int, *, side_px: int = _SIDE_PX) -> str | None:
    """A small upright JPEG of an image as a data URI; None where it cannot be shown."""
    try:
        with Image.open(file) as opened:
            opened.draft("RGB", (side_px, side_px))
            upright = ImageOps.exif_transpose(opened) if opened.size != (width, height) else opened
            image = upright.convert("RGB")
    except Exception:  # what is wrong with it is a finding already
        return None
    image.thumbnail((side_px, side_px), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
