"""The paper's Fig. 5, from one's own photos: boxes whose label contradicts what the detector saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont, ImageOps

from taco_kd.autolabel.examples import Example
from taco_kd.autolabel.folders import Photo
from taco_kd.autolabel.naive import NaiveBox

WIDTH_PX = 1600
COLUMNS = 3

_MARGIN, _GAP = 48, 28
_CELL_W = (WIDTH_PX - 2 * _MARGIN - (COLUMNS - 1) * _GAP) // COLUMNS
_PHOTO_H = _CELL_W * 3 // 4
_CAPTION_H = 84
_INK, _GREY, _MAT, _WRONG = "#1b1f24", "#57606a", "#eef0f2", "#c1121f"
_LINE_PX = 4

_Corners = tuple[float, float, float, float]


def draw_figure(
    examples: Sequence[Example], read: Callable[[Photo], Image.Image], *, title: str, subtitle: str
) -> Image.Image:
    """A grid of the examples, ``WIDTH_PX`` wide: photo, box, the label written, what the detector saw.

    Args:
        read: gives the upright RGB photo.
        title, subtitle: set in one line, and in as many as needed.
    """
    rows = math.ceil(len(examples) / COLUMNS)
    lines = _wrapped(subtitle, _font(24), WIDTH_PX - 2 * _MARGIN)
    top = _MARGIN + 58 + 34 * len(lines) + 26
    height = top + rows * (_PHOTO_H + _CAPTION_H) + max(0, rows - 1) * _GAP + _MARGIN
    sheet = Image.new("RGB", (WIDTH_PX, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 8), title, _INK, _font(36, bold=True))
    for i, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + 52 + 34 * i), line, _GREY, _font(24))
    for i, example in enumerate(examples):
        row, column = divmod(i, COLUMNS)
        left = _MARGIN + column * (_CELL_W + _GAP)
        upper = top + row * (_PHOTO_H + _CAPTION_H + _GAP)
        sheet.paste(_photo_with_box(read(example.photo), example.box), (left, upper))
        _caption(draw, left, upper + _PHOTO_H + 14, example.box)
    return sheet


def save_figure(sheet: Image.Image, path: Path) -> None:
    """Write the figure as a PNG."""
    sheet.save(path, format="PNG", optimize=True)


def _photo_with_box(photo: Image.Image, box: NaiveBox) -> Image.Image:
    """The photo, fitted into a cell on a mat, with the box and the label that the pipeline wrote on it."""
    fitted = ImageOps.contain(photo, (_CELL_W, _PHOTO_H), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (_CELL_W, _PHOTO_H), _MAT)
    dx, dy = (_CELL_W - fitted.width) // 2, (_PHOTO_H - fitted.height) // 2
    cell.paste(fitted, (dx, dy))
    sx, sy = fitted.width / photo.width, fitted.height / photo.height
    x1, y1, x2, y2 = box.box_xyxy
    # The line runs around the box, so that a small one stays visible; yet never outside the cell.
    around = _grown((dx + x1 * sx, dy + y1 * sy, dx + x2 * sx, dy + y2 * sy), _LINE_PX)
    corners = (
        max(around[0], 1),
        max(around[1], 1),
        min(around[2], _CELL_W - 2),
        min(around[3], _PHOTO_H - 2),
    )
    draw = ImageDraw.Draw(cell)
    draw.rectangle(_grown(corners, 1), outline="white", width=_LINE_PX + 2)  # visible on any ground
    draw.rectangle(corners, outline=_WRONG, width=_LINE_PX)
    _tag(draw, corners, box.label)
    return cell


def _tag(draw: ImageDraw.ImageDraw, corners: _Corners, label: str) -> None:
    """The label on a filled strip: above the box, below it, or inside where the box fills the cell."""
    font = _font(22, bold=True)
    text = _shortened(label, font, _CELL_W - 24)
    width, height = font.getlength(text) + 20, 34
    x, y = min(corners[0], _CELL_W - width), corners[1]
    if corners[1] >= height:
        y = corners[1] - height
    elif corners[3] + height <= _PHOTO_H:
        y = corners[3]
    draw.rectangle((x, y, x + width, y + height), fill=_WRONG)
    draw.text((x + 10, y + height / 2), text, "white", font, anchor="lm")


def _caption(draw: ImageDraw.ImageDraw, left: int, top: int, box: NaiveBox) -> None:
    lines = [
        ("labelled: ", box.label, "", _WRONG),
        ("detector saw: ", box.detector_class, f" {box.score:.2f}", _INK),
    ]
    for i, (key, name, rest, colour) in enumerate(lines):
        for size_px in (24, 22, 20, 18):  # a long name is first set smaller, then cut; the score always stays
            plain, bold = _font(size_px), _font(size_px, bold=True)
            indent = plain.getlength(key)
            if indent + bold.getlength(name + rest) <= _CELL_W:
                break
        value = _shortened(name, bold, _CELL_W - indent - bold.getlength(rest)) + rest
        baseline = top + 24 + 32 * i
        draw.text((left, baseline), key, _GREY, plain, anchor="ls")
        draw.text((left + indent, baseline), value, colour, bold, anchor="ls")


def _grown(corners: _Corners, by_px: float) -> _Corners:
    x1, y1, x2, y2 = corners
    return x1 - by_px, y1 - by_px, x2 + by_px, y2 + by_px


def _font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most scripts folders are named in."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size_px)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width_px: float) -> str:
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(text + "…") > width_px:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
