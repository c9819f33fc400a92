"""YOLO in the one loop: as a student, as a teacher, resumed, and that it learns."""

import pytest
import torch

from taco_kd.config import load_recipe
from taco_kd.errors import UsageError
from taco_kd.evaluate.stage import evaluate
from taco_kd.models import conditional_detr, rtdetr, zoo
from taco_kd.models.weight_files import read_safetensors
from taco_kd.models.weights import save_model
from taco_kd.train.stage import train

SMALL = ["train.steps=3", "train.batch_size=2", "train.warmup_steps=1", "student.image_size=96"]
DISTIL = [
    "distill.features=mse",
    "distill.pairing=hungarian",
    "distill.min_teacher_score=0.0",
    "distill.classes=sigmoid-bce",
    "distill.boxes=l1-giou",
    "distill.gate=off",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_data):
    """Random models of three families with the classes of the data."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, build in (
        ("rtdetr-nano", rtdetr.build_nano),
        ("conditional-detr-nano", conditional_detr.build_nano),
        ("yolo11-nano", zoo.find("yolo11-nano").build),
    ):
        save_model(folder / f"{name}.safetensors", build(small_data.class_names))
    return folder


def distillation(files, student, teacher, *more):
    return load_recipe(
        "nano-matched",
        [
            f"student.model={student}",
            f"student.weights={files}/{student}.safetensors",
            f"teacher.model={teacher}",
            f"teacher.weights={files}/{teacher}.safetensors",
            *SMALL,
            *DISTIL,
            *more,
        ],
    )


class StopError(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(small_data, tmp_path):
    recipe = load_recipe("nano-yolo11", [*SMALL, "train.checkpoint_seconds=1e-6", "train.ema_decay=0.5"])
    whole = train(recipe, small_data, tmp_path / "whole")

    def stop(done, total, note=""):
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        train(recipe, small_data, tmp_path / "cut", on_progress=stop)
    resumed = train(recipe, small_data, tmp_path / "cut", resume=True)
    first, second = read_safetensors(whole.model_file)[0], read_safetensors(resumed.model_file)[0]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert next(whole.log())["terms"].keys() == {"box", "cls", "dfl"}
    assert evaluate(resumed).images > 0


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("yolo11-nano", "conditional-detr-nano"),
        ("rtdetr-nano", "yolo11-nano"),
        ("yolo11-nano", "yolo11-nano"),
    ],
)
def test_the_teacher_is_called_and_every_term_counts(
    files, small_data, tmp_path, monkeypatch, student, teacher
):
    kind = type(zoo.load(files / f"{teacher}.safetensors"))
    forward, calls = kind.forward, []

    def counted(self, images, targets=None, **kwargs):
        calls.append(targets is None)
        return forward(self, images, targets, **kwargs)

    monkeypatch.setattr(kind, "forward", counted)
    recipe = distillation(files, student, teacher)
    lines = list(train(recipe, small_data, tmp_path / "run").log())
    assert calls.count(True) == 3  # the student is always given its targets
    for line in lines:
        assert line["raw"].keys() == {"kd_features", "kd_classes", "kd_boxes"}
        if line["pairs"]:
            assert all(value > 0 for value in line["raw"].values())
    assert teacher == "yolo11-nano" or all(line["pairs"] for line in lines)


def test_index_pairing_of_places_with_queries_is_refused(files, small_data, tmp_path):
    recipe = distillation(files, "yolo11-nano", "conditional-detr-nano", "distill.pairing=index")
    with pytest.raises(UsageError, match=r"yolo11-nano is a place in the image.*pairing=hungarian"):
        train(recipe, small_data, tmp_path / "run")
    other = distillation(files, "yolo11-nano", "yolo11-nano", "distill.pairing=index")
    with pytest.raises(UsageError, match="at 96 px yolo11-nano has others than yolo11-nano at 192 px"):
        train(other, small_data, tmp_path / "run")
    same = distillation(files, "yolo11-nano", "yolo11-nano", "distill.pairing=index", "teacher.image_size=96")
    lines = list(train(same, small_data, tmp_path / "same").log())
    assert lines[0]["pairs"] == 2 * (144 + 36 + 9)


@pytest.mark.slow
def test_a_nano_yolo11_learns(tmp_path):
    from taco_kd.config import PrepareConfig
    from taco_kd.data.prepare import prepare

    settings = PrepareConfig(source="synthetic", scenes=400, size=192, seed=5, workers=2)
    data = prepare(settings, tmp_path / "data")
    recipe = load_recipe("nano-yolo11", ["train.steps=300"])
    run = train(recipe, data, tmp_path / "run")
    losses = [line["loss"] for line in run.log()]
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    assert evaluate(run).ap50 > 0.02
