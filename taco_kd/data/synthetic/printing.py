"""Fake printing: labels, lettering and logos that read as print without saying anything."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from taco_kd.data.synthetic.colours import PRINT_INKS, Colour, pick, to_bytes
from taco_kd.data.synthetic.fields import FloatArray


def _lettering(
    rng: np.random.Generator, draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], ink: Colour
) -> None:
    """One line of letter-like strokes in `box` (left, top, right, bottom)."""
    left, top, right, bottom = box
    height = bottom - top
    x = left
    while x < right - 0.3 * height:
        width = float(rng.uniform(0.35, 0.75)) * height
        if rng.random() < 0.85:
            stroke = max(1, int(height * 0.22))
            draw.rectangle((x, top, x + stroke, bottom), fill=to_bytes(ink))
            if rng.random() < 0.6:
                draw.rectangle((x, top, x + width * 0.8, top + stroke), fill=to_bytes(ink))
            if rng.random() < 0.6:
                draw.rectangle((x, bottom - stroke, x + width * 0.8, bottom), fill=to_bytes(ink))
        x += width + 0.2 * height


def packaging(rng: np.random.Generator, width: int, height: int, ground: Colour) -> FloatArray:
    """A colourful print of shape (height, width, 3): bands, a logo and a line or two of lettering."""
    image = Image.new("RGB", (width, height), to_bytes(ground))
    draw = ImageDraw.Draw(image)
    second, third = pick(rng, PRINT_INKS), pick(rng, (*PRINT_INKS, (0.97, 0.97, 0.95), (0.97, 0.97, 0.95)))
    style = int(rng.integers(4))
    if style == 0:  # a sweeping band
        a, b = rng.uniform(0.1, 0.6, 2) * width
        draw.polygon(
            [(a, 0), (a + 0.3 * width, 0), (b + 0.3 * width, height), (b, height)], fill=to_bytes(second)
        )
    elif style == 1:  # two stripes around the object
        for _ in range(2):
            a = float(rng.uniform(0.0, 0.9)) * width
            draw.rectangle((a, 0, a + float(rng.uniform(0.03, 0.1)) * width, height), fill=to_bytes(second))
    elif style == 2:  # a lower half in another colour
        draw.rectangle((0, 0, width * float(rng.uniform(0.25, 0.5)), height), fill=to_bytes(second))
    cx, cy = width * float(rng.uniform(0.35, 0.65)), height * float(rng.uniform(0.35, 0.65))
    rx, ry = width * float(rng.uniform(0.12, 0.24)), height * float(rng.uniform(0.2, 0.36))
    draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=to_bytes(third))
    letter = max(3.0, 0.6 * ry)
    ink = second if sum(third) > 1.6 else (0.97, 0.97, 0.95)
    _lettering(rng, draw, (cx - 0.8 * rx, cy - letter / 2, cx + 0.8 * rx, cy + letter / 2), ink)
    small = max(2.0, 0.07 * height)
    for row in range(int(rng.integers(1, 4))):
        y = height * 0.08 + row * small * 1.8
        _lettering(rng, draw, (width * 0.06, y, width * float(rng.uniform(0.2, 0.4)), y + small), third)
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255)


def written_page(rng: np.random.Generator, width: int, height: int, ground: Colour) -> FloatArray:
    """A page of shape (height, width, 3): grey lines of text, sometimes a heading or a picture."""
    image = Image.new("RGB", (width, height), to_bytes(ground))
    draw = ImageDraw.Draw(image)
    ink = pick(rng, ((0.35, 0.35, 0.38), (0.45, 0.45, 0.50), (0.32, 0.36, 0.55)), 0.04)
    pitch = max(5.0, height / float(rng.uniform(14, 26)))
    y = height * 0.08
    if rng.random() < 0.5:
        _lettering(rng, draw, (width * 0.1, y, width * 0.7, y + pitch), pick(rng, PRINT_INKS))
        y += 2.0 * pitch
    if rng.random() < 0.3:
        x = width * float(rng.uniform(0.1, 0.5))
        draw.rectangle((x, y, x + 0.35 * width, y + 0.25 * height), fill=to_bytes(pick(rng, PRINT_INKS)))
        y += 0.3 * height
    while y < height * 0.9:
        x = width * 0.1
        end = width * float(rng.uniform(0.55, 0.9))
        while x < end:
            word = float(rng.uniform(0.4, 1.6)) * pitch
            draw.rectangle((x, y, min(x + word, end), y + pitch * 0.3), fill=to_bytes(ink))
            x += word + 0.35 * pitch
        y += pitch
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
