"""``taco-kd show-batch``: a picture of what training is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from taco_kd.config import load_recipe
from taco_kd.data.batches import Batches
from taco_kd.train.build import steps_of, training_images


def test_the_picture_shows_the_batch_of_the_step(run: Callable[..., Any], small_data) -> None:
    settings = ["train.batch_size=4", "train.augment.mosaic=1", "train.steps=9"]
    words = [word for each in settings for word in ("--set", each)]
    said = run(
        "show-batch",
        "--data",
        small_data.path,
        "--step",
        3,
        "--images",
        6,
        "--out",
        "b.png",
        *words,
        "--json",
    )
    assert said.code == 0, said.err
    assert json.loads(said.out) == {"picture": "b.png", "images": 6}
    recipe = load_recipe("nano-baseline", settings)
    dataset = training_images(recipe, small_data, 192)
    batches = Batches(dataset, recipe.train, steps_of(recipe.train, len(dataset)))
    sheet = Image.open("b.png")
    assert sheet.size == (4 * 368 + 8, 2 * 390 + 8)
    for number, (step, place) in enumerate([(2, 0), (2, 1), (2, 2), (2, 3), (3, 0), (3, 1)]):
        left, top = 8 + number % 4 * 368, 8 + number // 4 * 390
        drawn = np.asarray(sheet.crop((left, top, left + 360, top + 360)).resize((192, 192)), dtype=float)
        expected = batches.batch(step).images[place].permute(1, 2, 0).numpy().astype(float)
        assert np.median(np.abs(drawn - expected)) < 6  # boxes are drawn over some of it


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--step", "101"], "--step 101: the run has the steps 1 to 100"),
        (["--out", "sheet.gif"], "--out sheet.gif"),
        (["--set", "train.augment.mosaic=2"], "train.augment.mosaic = 2"),
        (["--set", "train.augment.mosaic=1", "--set", "train.augment.stop_epochs=900"], "stop_epochs = 900"),
    ],
)
def test_mistakes_are_one_line_and_no_picture(run: Callable[..., Any], small_data, words, told) -> None:
    said = run("show-batch", "--data", small_data.path, *words)
    assert said.code == 2
    assert told in said.err
    assert not list(Path().rglob("*.jpg"))
