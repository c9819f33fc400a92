"""A contact sheet of a prepared dataset: examples with their boxes drawn, as in Fig. 1 of RT-CO-DETR."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.random import PCG64, Generator
from PIL import Image, ImageDraw, ImageFont

from taco_kd.files import replacing
from taco_kd.runs import SPLITS, DataDir, Split

COLUMNS, ROWS = 4, 3
CELL_PX, CAPTION_PX, GAP_PX = 360, 22, 8
_QUALITY = 90


@dataclass(frozen=True)
class Example:
    split: Split
    image: Mapping[str, Any]
    annotations: Sequence[Mapping[str, Any]]


def write_contact_sheet(data: DataDir, cocos: Mapping[Split, Mapping[str, Any]], *, seed: int) -> None:
    """``examples.jpg``: up to 12 images of both splits, chosen by ``seed`` so that many classes are seen."""
    chosen = choose_examples(cocos, count=COLUMNS * ROWS, seed=seed)
    names = {c["id"]: c["name"] for c in next(iter(cocos.values()))["categories"]}
    colours = {category: colour(i) for i, category in enumerate(names)}
    captions = []
    for example in chosen:
        original = example.image.get("original_file_name")
        words = f"  ({original})" if original is not None else ""
        captions.append(f"{example.split}/{example.image['file_name']}{words}")
    pictures = [_picture(data, example, names, colours) for example in chosen]
    save_sheet(sheet_of(pictures, captions), data.examples_file)


def sheet_of(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Pictures of ``CELL_PX`` squared side by side, four in a row, each with a line below it."""
    columns, rows = min(COLUMNS, len(pictures)), -(-len(pictures) // COLUMNS)
    width, height = columns * (CELL_PX + GAP_PX) + GAP_PX, rows * (CELL_PX + CAPTION_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(13)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = GAP_PX + number % COLUMNS * (CELL_PX + GAP_PX)
        top = GAP_PX + number // COLUMNS * (CELL_PX + CAPTION_PX + GAP_PX)
        sheet.paste(picture, (left, top))
        ImageDraw.Draw(sheet).text((left, top + CELL_PX + 3), _cut(caption, font), fill="black", font=font)
    return sheet


def save_sheet(sheet: Image.Image, file: Path) -> None:
    """As JPEG, or as PNG where the name says so; whole or not at all."""
    encoded = io.BytesIO()
    if file.suffix.lower() == ".png":
        sheet.save(encoded, "PNG")
    else:
        sheet.save(encoded, "JPEG", quality=_QUALITY)
    with replacing(file) as aside:
        aside.write_bytes(encoded.getbuffer())


def choose_examples(cocos: Mapping[Split, Mapping[str, Any]], *, count: int, seed: int) -> list[Example]:
    """Images with boxes in an order drawn by ``seed``; each time the next one that shows most classes not
    yet seen. What comes out is in the order of splits and ids."""
    waiting = []
    for split in SPLITS:
        of_image: dict[int, list[Mapping[str, Any]]] = {i["id"]: [] for i in cocos[split]["images"]}
        for annotation in cocos[split]["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        waiting += [Example(split, i, of_image[i["id"]]) for i in cocos[split]["images"] if of_image[i["id"]]]
    order = Generator(PCG64(seed)).permutation(len(waiting))
    shown = [{a["category_id"] for a in example.annotations} for example in waiting]
    seen: set[int] = set()
    chosen: list[int] = []
    left = [int(k) for k in order]
    while left and len(chosen) < count:
        best = max(left, key=lambda k: len(shown[k] - seen))
        seen |= shown[best]
        chosen.append(best)
        left.remove(best)
    return [waiting[k] for k in sorted(chosen)]


def _picture(
    data: DataDir, example: Example, names: Mapping[int, str], colours: Mapping[int, tuple[int, int, int]]
) -> Image.Image:
    with Image.open(data.image_file(example.split, example.image["file_name"])) as image:
        picture = image.convert("RGB")
    scale = 1 / example.image["width"]
    boxes = [([v * scale for v in a["bbox"]], a["category_id"]) for a in example.annotations]
    return with_boxes(picture, boxes, names, colours)


def with_boxes(
    image: Image.Image,
    boxes: Sequence[tuple[Sequence[float], int]],
    names: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
) -> Image.Image:
    """A square image at ``CELL_PX`` with boxes and their classes drawn on it, the largest first.

    Args:
        boxes: x, y, width and height as fractions of the image, and the class.
    """
    picture = image.resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(12)
    for box, which in sorted(boxes, key=lambda each: -each[0][2] * each[0][3]):
        x, y, w, h = (v * CELL_PX for v in box)
        pen.rectangle((x, y, max(x + w - 1, x), max(y + h - 1, y)), outline=colours[which], width=2)
        name = names[which]
        text_width = font.getlength(name) + 4
        left, top = min(x, max(0.0, CELL_PX - text_width)), y - 15 if y >= 15 else y
        pen.rectangle((left, top, left + text_width, top + 15), fill=colours[which])
        pen.text((left + 2, top + 1), name, fill="white", font=font)
    return picture


def colour(index: int) -> tuple[int, int, int]:
    """Distinct, dark enough for white letters: hues a golden angle apart."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1.0, 0.85, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while font.getlength(text) > CELL_PX and len(text) > 4:
        text = text[:-4] + "..." if not text.endswith("...") else text[:-4].rstrip(".") + "..."
    return text
