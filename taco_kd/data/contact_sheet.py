"""A contact sheet of a prepared dataset: examples with their boxes drawn, as in Fig. 1 of RT-CO-DETR."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    colours = {category: _colour(i) for i, category in enumerate(names)}
    rows = -(-len(chosen) // COLUMNS)
    width, height = COLUMNS * (CELL_PX + GAP_PX) + GAP_PX, rows * (CELL_PX + CAPTION_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (width, height), "white")
    for number, example in enumerate(chosen):
        left = GAP_PX + number % COLUMNS * (CELL_PX + GAP_PX)
        top = GAP_PX + number // COLUMNS * (CELL_PX + CAPTION_PX + GAP_PX)
        sheet.paste(_drawn(data, example, names, colours), (left, top))
        caption = f"{example.split}/{example.image['file_name']}"
        if (original := example.image.get("original_file_name")) is not None:
            caption += f"  ({original})"
        font = ImageFont.load_default(13)
        ImageDraw.Draw(sheet).text((left, top + CELL_PX + 3), _cut(caption, font), fill="black", font=font)
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=_QUALITY)
    with replacing(data.examples_file) as aside:
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


def _drawn(
    data: DataDir, example: Example, names: Mapping[int, str], colours: Mapping[int, tuple[int, int, int]]
) -> Image.Image:
    with Image.open(data.image_file(example.split, example.image["file_name"])) as image:
        picture = image.convert("RGB").resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(12)
    scale = CELL_PX / example.image["width"]
    for annotation in sorted(example.annotations, key=lambda a: -a["bbox"][2] * a["bbox"][3]):
        x, y, w, h = (v * scale for v in annotation["bbox"])
        colour = colours[annotation["category_id"]]
        pen.rectangle((x, y, max(x + w - 1, x), max(y + h - 1, y)), outline=colour, width=2)
        name = names[annotation["category_id"]]
        text_width = font.getlength(name) + 4
        left, top = min(x, max(0.0, CELL_PX - text_width)), y - 15 if y >= 15 else y
        pen.rectangle((left, top, left + text_width, top + 15), fill=colour)
        pen.text((left + 2, top + 1), name, fill="white", font=font)
    return picture


def _colour(index: int) -> tuple[int, int, int]:
    """Distinct, dark enough for white letters: hues a golden angle apart."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1.0, 0.85, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while font.getlength(text) > CELL_PX and len(text) > 4:
        text = text[:-4] + "..." if not text.endswith("...") else text[:-4].rstrip(".") + "..."
    return text
