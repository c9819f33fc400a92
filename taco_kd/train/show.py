"""A picture of what a recipe feeds its student, before any step is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taco_kd.config import Recipe
from taco_kd.data.batch import Batch
from taco_kd.data.batch_sheet import write_batch_sheet
from taco_kd.data.batches import Batches
from taco_kd.data.unchanged import check_unchanged
from taco_kd.errors import UsageError
from taco_kd.models import zoo
from taco_kd.models.settings import initial_student
from taco_kd.runs import DataDir
from taco_kd.train.build import steps_of, training_images


def show_batches(recipe: Recipe, data: DataDir, out: Path, *, step: int, images: int) -> int:
    """Draw the training images from ``step`` (from 1) on, as the run would meet them; how many are drawn.

    Raises:
        UsageError: there is no such step, or the recipe's augmentation cannot be.
        DataError: the data changed since it was prepared, or cannot be read.
    """
    check_unchanged(data)
    dataset = training_images(recipe, data, _side(recipe, data))
    steps_total = steps_of(recipe.train, dataset.epoch_images)
    if not 1 <= step <= steps_total:
        raise UsageError(f"--step {step}: the run has the steps 1 to {steps_total}")
    batches = Batches(dataset, recipe.train, steps_total)
    return write_batch_sheet(dataset, _first(batches, step - 1, images), out)


def _first(batches: Batches, step: int, images: int) -> Iterator[tuple[int, Batch]]:
    """The batches from ``step`` (from 0) on, until there are so many images."""
    while images > 0 and step < batches.steps_total:
        batch = batches.batch(step).part(0, images)
        yield step, batch
        images -= len(batch)
        step += 1


def _side(recipe: Recipe, data: DataDir) -> int:
    """Of the student's images, without building it where the list of models says so."""
    student = recipe.student
    if student.image_size is not None:
        return student.image_size
    if not zoo.is_source(student.model):
        return zoo.find(student.model).image_size
    return initial_student(student, data.class_names, seed=recipe.train.seed)[0].image_size
