"""What a run needs before its first step: student, teachers with their losses, optimiser, data."""

from __future__ import annotations

import torch

from taco_kd.config import Recipe, TrainConfig
from taco_kd.data.batches import steps_per_epoch
from taco_kd.data.dataset import DetectionDataset
from taco_kd.data.loading_process import warm_up
from taco_kd.data.mixture import mixed_with_pseudo
from taco_kd.data.part import put_aside
from taco_kd.data.unchanged import check_unchanged
from taco_kd.distill.distiller import Distiller
from taco_kd.errors import DataError
from taco_kd.models.detector import Detector
from taco_kd.models.load_report import LoadReport
from taco_kd.models.settings import initial_student
from taco_kd.models.settings import teacher as load_teacher
from taco_kd.progress import notice
from taco_kd.runs import DataDir
from taco_kd.train.choice import trained_on
from taco_kd.train.image_checks import check_images
from taco_kd.train.network import freeze, shape_for_speed
from taco_kd.train.optim import build_optimizer
from taco_kd.train.state import TrainState, make_ema
from taco_kd.train.sync_batch_norm import synchronise


def build(
    recipe: Recipe, data: DataDir, device: torch.device
) -> tuple[DetectionDataset, TrainState, list[LoadReport]]:
    """The training images, the state before the first step, and what was loaded into its models.

    Raises:
        UsageError: the recipe cannot be built.
        DataError: the train split is empty or cannot be read, or the data changed since it was prepared.
        MissingResourceError: weights are not on this machine, or less than 90 % of them arrived.
    """
    config = recipe.train
    check_unchanged(data)
    if recipe.pseudo is not None:
        check_unchanged(DataDir.open(recipe.pseudo.data))
    if config.workers or config.augment.on:
        warm_up()  # while the models are built
    student, reports = initial_student(recipe.student, data.class_names, seed=config.seed)
    distiller = None
    if recipe.teacher is not None and recipe.pretrain is None:
        distiller, loaded = _distiller(recipe, student, device)
        reports += loaded
    for report in reports:
        notice(report.line())
    if distiller is not None:
        _say_classes(distiller, student)
    freeze(student, config)
    student.to(device)
    dataset = training_images(recipe, data, student.image_size)
    check_images(config, dataset, student, steps_of(config, dataset.epoch_images))
    state = TrainState(
        student, distiller, build_optimizer(student, distiller, config), make_ema(student, config.ema_decay)
    )
    if config.precision == "fp16":
        state.scaler = torch.amp.GradScaler(device.type)
    state.micro_batch = config.micro_batch
    shape_for_speed(student, config)
    if config.sync_batch_norm:
        synchronise(student, by_torch=device.type == "cuda" and distiller is None)
    return dataset, state, reports


def training_images(recipe: Recipe, data: DataDir, side: int) -> DetectionDataset:
    """What the recipe is trained on: the labelled images that stay, mixed with pseudo-labelled ones.

    Raises:
        UsageError: nothing would be left of the one or the other.
        DataError: the train split is empty or cannot be read.
    """
    stay, aside = trained_on(data, recipe.train)
    dataset = DetectionDataset(stay, "train", side)
    if len(dataset) == 0:
        raise DataError(f"{data.path}: the train split holds no image")
    if recipe.pseudo is not None:
        dataset, _ = mixed_with_pseudo(dataset, recipe.pseudo.data, recipe.pseudo.weight, aside)
    return dataset


def _distiller(recipe: Recipe, student: Detector, device: torch.device) -> tuple[Distiller, list[LoadReport]]:
    lessons = recipe.lessons()
    teachers, reports = [], []
    for lesson in lessons:
        teacher, loaded = load_teacher(lesson.teacher)
        teachers.append(teacher.to(device))
        reports += loaded
    return Distiller(lessons, student, teachers).to(device), reports


def _say_classes(distiller: Distiller, student: Detector) -> None:
    for lesson in distiller.each():
        if lesson.needs_predictions:
            notice(
                f"Classes: {len(lesson.classes.student)} of the student's {len(student.class_names)} have a "
                f"partner among the teacher's {len(lesson.teacher.class_names)}."
            )


def images_of(config: TrainConfig, data: DataDir) -> int:
    """Labelled images that a run is trained on."""
    images = data if config.hold_out == 0 else put_aside(data, config.hold_out, config.seed)[0]
    return len(images.coco("train")["images"])


def steps_of(config: TrainConfig, images: int) -> int:
    """Optimiser steps of a run over ``images`` training images; an incomplete last batch is dropped."""
    return config.steps or max(1, config.epochs * steps_per_epoch(config, images))
