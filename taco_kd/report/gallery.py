"""The gallery of an auto-labelling: every label by harm, and a sample of them for a person to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from taco_kd import __version__
from taco_kd.autolabel.agreement import FORMAT
from taco_kd.autolabel.harm import Suspicion
from taco_kd.autolabel.results import FIGURE, GALLERY, LABELS, RECORD
from taco_kd.files import read_json, write_text
from taco_kd.report.images import encoded_uri
from taco_kd.report.templates import own_text, template

MOST_CARDS = 240
"""labels in the part that is sorted by harm, the most harmful first"""
BYTES_FOR_PHOTOS = 9_000_000
"""budget of a page for its pictures, in bytes of base64"""
_SIDES_PX = (480, 400, 320, 240, 176)


@dataclass(frozen=True)
class Card:
    """One label: ``photo`` is the number of its picture, ``xywh`` in pixels of the photo."""

    box: int
    photo: int
    width: int
    height: int
    xywh: tuple[float, float, float, float]
    label: str
    seen: str
    score: float
    verdict: str
    suspicion: str
    weight: float
    file_name: str

    @property
    def rank(self) -> int:
        return [s.value for s in Suspicion].index(self.suspicion)

    @property
    def line_px(self) -> float:
        """Width of the box's line, in pixels of the photo."""
        return max(self.width, self.height) / 130


def write_gallery(folder: Path, root: Path) -> Path:
    """Write ``gallery.html`` beside the records in ``folder``; it loads nothing from the network.

    Args:
        root: the folder that ``file_name`` entries of the labels are relative to. Photos that cannot be read
            any more are drawn as an empty frame.

    Raises:
        DataError: the records are missing or damaged.
    """
    audit, naive = read_json(folder / RECORD), read_json(folder / LABELS)
    cards = _cards(naive)
    by_harm = sorted(cards, key=lambda card: (card.rank, -card.weight))[:MOST_CARDS]
    wanted = {box: place for place, box in enumerate(audit["review_sample"])}
    sample = sorted((card for card in cards if card.box in wanted), key=lambda card: wanted[card.box])
    html = template("gallery.html", share=_share, interval=_interval).render(
        version=__version__,
        style=own_text("style.css") + own_text("gallery.css"),
        script=own_text("gallery.js"),
        audit=audit,
        review=audit.get("review"),
        folders=[*audit["folders"], audit["overall"]],
        by_harm=by_harm,
        sample=sample,
        labels=len(cards),
        photos=_photos(naive, {card.photo for card in (*by_harm, *sample)}, root),
        suspicions=[s.value for s in Suspicion if any(card.suspicion == s.value for card in by_harm)],
        names=sorted({card.label for card in by_harm}),
        reviews_format=FORMAT,
        figure=FIGURE,
    )
    out = folder / GALLERY
    write_text(out, html.lstrip())
    return out


def _cards(naive: Mapping[str, Any]) -> list[Card]:
    names = {category["id"]: category["name"] for category in naive["categories"]}
    images = {image["id"]: image for image in naive["images"]}
    cards = []
    for annotation in naive["annotations"]:
        image = images[annotation["image_id"]]
        cards.append(
            Card(
                box=annotation["id"],
                photo=image["id"],
                width=image["width"],
                height=image["height"],
                xywh=tuple(annotation["bbox"]),
                label=names[annotation["category_id"]],
                seen=annotation["detector_class"],
                score=annotation["score"],
                verdict=annotation["verdict"],
                suspicion=annotation["suspicion"],
                weight=annotation["weight"],
                file_name=image["file_name"],
            )
        )
    return cards


def _photos(naive: Mapping[str, Any], wanted: set[int], root: Path) -> list[tuple[int, int, int, str | None]]:
    """(number, width, height, data URI) of the photos that are shown."""
    images = [image for image in naive["images"] if image["id"] in wanted]
    each = BYTES_FOR_PHOTOS // max(1, len(images))
    return [(i["id"], i["width"], i["height"], _uri(root / i["file_name"], each)) for i in images]


def _uri(path: Path, max_chars: int) -> str | None:
    """The upright photo in the largest size that fits; None where it cannot be read."""
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (_SIDES_PX[0], _SIDES_PX[0]))
            photo = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
    return encoded_uri(photo, max_chars, quality=80, sides_px=_SIDES_PX)


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.0f} %"


def _interval(value: Sequence[float] | None) -> str:
    return "" if value is None else f"{100 * value[0]:.0f} to {100 * value[1]:.0f} %"
