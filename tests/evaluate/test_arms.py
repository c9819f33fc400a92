"""Arms of runs, of files and of both: grouping by seed, refusals, and the confounders that are named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from coco_cases import detector, scenes

from taco_kd.config import AugmentConfig, Recipe, TrainConfig
from taco_kd.errors import DataError, UsageError
from taco_kd.evaluate.arms import arms_of, named_arm, parse_arm
from taco_kd.evaluate.coco_metrics import evaluate_coco
from taco_kd.evaluate.comparable import confounders
from taco_kd.evaluate.comparison import (
    ArmOfFiles,
    Comparison,
    compare_arms,
    compare_predictions,
    compare_runs,
)
from taco_kd.evaluate.multiplicity import holm
from taco_kd.files import write_json
from taco_kd.runs import RunDir

TRUTH = scenes(24)
DISTILLED = {"distill": {"features": "mse"}, "teacher": {"model": "conditional-detr-nano"}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_json(tmp_path / "data" / "annotations" / "val.json", TRUTH)
    write_json(tmp_path / "data" / "dataset.json", {"content_hash": "c0ffee" * 8, "class_names": list("abc")})
    return tmp_path / "data"


def make_run(path: Path, data: Path, *, seed: int = 0, jitter: float = 0.1, **recipe: Any) -> RunDir:
    """An evaluated run as the training stage leaves it."""
    run = RunDir(path)
    predictions = detector(TRUTH, jitter=jitter, seed=seed)
    write_json(run.predictions_file("val"), predictions)
    write_json(run.metrics_file("val"), {"metrics": evaluate_coco(TRUTH, predictions).to_json()})
    settings = Recipe(name=recipe.pop("name", path.name.split("-")[0]), description="").model_dump(
        mode="json"
    )
    train = settings["train"] | {"seed": seed} | recipe.pop("train", {})
    student = settings["student"] | recipe.pop("student", {})
    init = recipe.pop("init_hash", f"{seed:02d}" * 32)
    image_size = recipe.pop("image_size", 200)
    record = {
        "status": "finished",
        "kind": "distill" if "distill" in recipe else "train",
        "data": {"path": str(data), "content_hash": "c0ffee" * 8, "image_size": image_size},
        "recipe": settings | recipe | {"train": train, "student": student},
        "init_hash": init,
        "steps": 100,
    }
    write_json(run.record_file, record)
    return run


def test_runs_that_differ_in_the_seed_are_one_arm(tmp_path: Path, data: Path) -> None:
    runs = [make_run(tmp_path / f"base-{s}", data, seed=s) for s in (2, 0)]
    runs += [make_run(tmp_path / f"kd-{s}", data, seed=s, jitter=0.06, **DISTILLED) for s in (0, 2)]
    comparison = compare_runs(runs, resamples=200)
    assert [(arm.name, [seed.name for seed in arm.seeds]) for arm in comparison.arms] == [
        ("base", ["0", "2"]),
        ("kd", ["0", "2"]),
    ]
    (difference,) = comparison.differences
    aps = [evaluate_coco(TRUTH, json.loads(r.predictions_file("val").read_text())).ap for r in runs]
    assert difference.interval.estimate == pytest.approx((aps[2] + aps[3] - aps[0] - aps[1]) / 2)
    of_arm = comparison.arms[0].metrics
    assert of_arm.ap == pytest.approx((aps[0] + aps[1]) / 2)
    each = [evaluate_coco(TRUTH, json.loads(r.predictions_file("val").read_text())) for r in runs[:2]]
    assert of_arm.per_class[1].ap50 == pytest.approx(sum(m.per_class[1].ap50 for m in each) / 2)
    assert (of_arm.images, of_arm.per_class[1].boxes) == (24, each[0].per_class[1].boxes)
    assert difference.interval.seed_error is not None
    assert difference.p_value == max(difference.p_swap, difference.p_seeds)
    assert "training seeds (2 an arm, the same in every arm)" in comparison.caveat
    assert comparison.notes[0] == "base: one arm of 2 training seeds: base-0 (seed 0), base-2 (seed 2)"
    assert comparison.confounders == (), "new layers differ with the seed, and each seed has its twin"
    assert Comparison.from_json(json.loads(json.dumps(comparison.to_json(), allow_nan=False))) == comparison


def test_without_grouping_every_run_stands_alone(tmp_path: Path, data: Path) -> None:
    runs = [make_run(tmp_path / f"base-{s}", data, seed=s) for s in (0, 1, 2)]
    with pytest.raises(
        UsageError, match=r"base-0, base-1, base-2 differ in the training seed only.*--no-group"
    ):
        compare_runs(runs, resamples=100)
    comparison = compare_runs(runs, resamples=100, group_seeds=False)
    assert [arm.name for arm in comparison.arms] == ["base-0", "base-1", "base-2"]
    assert len(comparison.differences) == 2


def test_other_seeds_are_not_paired_and_no_confounder(tmp_path: Path, data: Path) -> None:
    runs = [make_run(tmp_path / f"base-{s}", data, seed=s) for s in (0, 1)]
    runs += [make_run(tmp_path / f"kd-{s}", data, seed=s, **DISTILLED) for s in (2, 3)]
    comparison = compare_runs(runs, resamples=100)
    assert comparison.confounders == ()
    assert "the same in every arm" not in comparison.caveat


def test_repetitions_of_one_seed_are_not_seeds(tmp_path: Path, data: Path) -> None:
    runs = [make_run(tmp_path / f"base-{k}", data, seed=0) for k in (0, 1)]
    assert [len(arm.runs) for arm in arms_of(runs)] == [1, 1]


def test_names_of_arms(tmp_path: Path, data: Path) -> None:
    same_recipe = [
        make_run(tmp_path / f"kd-soft-seed{s}", data, seed=s, name="r", **DISTILLED) for s in (0, 1)
    ]
    other = [
        make_run(tmp_path / f"kd-hard-seed{s}", data, seed=s, name="r", train={"lr": 0.1}) for s in (0, 1)
    ]
    assert [arm.name for arm in arms_of([*same_recipe, *other])] == ["kd-soft", "kd-hard"]
    assert [arm.name for arm in arms_of([*same_recipe, other[0]])] == ["r", "kd-hard-seed0"]
    assert named_arm("mine", other[::-1]).seeds == (0, 1)


def test_the_confounder_of_the_paper_is_named(tmp_path: Path, data: Path) -> None:
    """Its baseline starts from an ImageNet backbone, its distilled model from COCO detection weights."""
    baseline = make_run(
        tmp_path / "rt-detr-l",
        data,
        student={
            "model": "rtdetrv2-r50",
            "weights": "random",
            "backbone_from": "resnet50vd_imagenet.safetensors",
        },
        train={"lr": 1e-4, "backbone_lr_ratio": 0.1},
    )
    distilled = make_run(
        tmp_path / "rt-co-detr",
        data,
        student={"model": "rtdetrv2-r50", "weights": "rtdetr_v2_r50vd_coco.safetensors"},
        train={"lr": 5e-5, "batch_size": 32},
        init_hash="ab" * 32,
        **DISTILLED,
    )
    comparison = compare_runs([baseline, distilled], resamples=100)
    assert comparison.confounders[0] == (
        "initial weights differ: rt-detr-l started from random weights and the backbone of "
        "resnet50vd_imagenet.safetensors, rt-co-detr from the weights rtdetr_v2_r50vd_coco.safetensors: the "
        "difference cannot be put down to distillation alone"
    )
    rest = " ".join(comparison.confounders[1:])
    assert "batch size: 16 in rt-detr-l, 32 in rt-co-detr" in rest
    assert "learning rate: 0.0001 in rt-detr-l, 5e-05 in rt-co-detr" in rest
    assert "learning rate of the backbone: 0.1" in rest


def test_a_setting_of_tomorrow_is_compared_too(tmp_path: Path, data: Path) -> None:
    runs = [
        make_run(tmp_path / "base", data),
        make_run(tmp_path / "kd", data, train={"mosaic": 0.5}, **DISTILLED),
    ]
    assert compare_runs(runs, resamples=100).confounders == (
        "train.mosaic: not recorded in base, 0.5 in kd: the difference may come from this",
    )


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            {"evaluator": "another evaluator 9"},
            r"evaluated differently \(evaluated by COCO .* and another evalua",
        ),
        (
            {"area_space": "pixels of the original photos"},
            r"\(box areas in 200x200 .* and pixels of the original",
        ),
    ],
)
def test_runs_that_were_evaluated_differently_are_refused(
    metrics: dict[str, Any], words: str, tmp_path: Path, data: Path
) -> None:
    runs = [make_run(tmp_path / "base", data), make_run(tmp_path / "kd", data, **DISTILLED)]
    record = json.loads(runs[1].metrics_file("val").read_text())
    write_json(runs[1].metrics_file("val"), {"metrics": record["metrics"] | metrics})
    with pytest.raises(DataError, match=words):
        compare_runs(runs, resamples=100)


def test_runs_on_images_of_another_size_are_refused(tmp_path: Path, data: Path) -> None:
    runs = [make_run(tmp_path / "base", data), make_run(tmp_path / "kd", data, image_size=320)]
    with pytest.raises(DataError, match="prepared at 200 and 320 pixels: boxes, and what is small"):
        compare_runs(runs, resamples=100)


def write_results(path: Path, seed: int, jitter: float = 0.1) -> Path:
    write_json(path, detector(TRUTH, jitter=jitter, seed=seed))
    return path


def test_files_of_any_tool(tmp_path: Path) -> None:
    arms = [
        ArmOfFiles("a", (write_results(tmp_path / "a.json", 1),)),
        ArmOfFiles("b", tuple(write_results(tmp_path / f"b{k}.json", k, 0.05) for k in (2, 3))),
    ]
    comparison = compare_arms(arms, TRUTH, resamples=100)
    assert [len(arm.seeds) for arm in comparison.arms] == [0, 2]
    assert "Of an arm with one seed the scatter between seeds is not known" in comparison.caveat
    assert comparison.confounders == (
        "how a and b were trained is not written in results files: initial weights, data, steps and "
        "augmentation may differ",
    )
    assert comparison.notes == ("b: one arm of 2 training seeds: b2.json, b3.json",)
    with pytest.raises(UsageError, match="add --annotations"):
        compare_arms(arms, resamples=100)
    with pytest.raises(UsageError, match="two arms are called 'a'"):
        compare_arms([arms[0], arms[0]], TRUTH)


def test_runs_and_files_share_the_ground_truth_or_are_refused(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path / "base", data)
    arms = [*arms_of([run], alone=False), ArmOfFiles("b", (write_results(tmp_path / "b.json", 2),))]
    comparison = compare_arms(arms, resamples=100)
    assert comparison.confounders[0].startswith("how b was trained is not written")
    same = copy.deepcopy(TRUTH)
    same["annotations"].reverse()
    assert compare_arms(arms, same, resamples=100).differences == comparison.differences

    def changed(what: str) -> dict[str, Any]:
        other = copy.deepcopy(TRUTH)
        if what == "images":
            other["images"].append({"id": 99, "width": 200, "height": 200})
        elif what == "image sizes":
            other["images"][0]["width"] = 640
        elif what == "classes":
            other["categories"][0]["name"] = "else"
        else:
            other["annotations"][3]["bbox"][0] += 1
        return other

    for what in ("images", "image sizes", "classes", "boxes"):
        with pytest.raises(
            DataError, match=f"have different {what}: runs and files must be evaluated on the same"
        ):
            compare_arms(arms, changed(what), resamples=100)


def test_every_pair_and_correction() -> None:
    found = {
        name: detector(TRUTH, jitter=j, seed=k)
        for k, (name, j) in enumerate({"a": 0.1, "b": 0.02, "c": 0.1}.items())
    }
    comparison = compare_predictions(TRUTH, found, resamples=200, all_pairs=True)
    assert [(d.reference, d.name) for d in comparison.differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    p_values = [d.p_value for d in comparison.differences]
    assert [d.p_adjusted for d in comparison.differences] == holm(p_values) != p_values
    assert "adjusted = " in comparison.differences[0].words
    assert "adjusted by Holm's method" in comparison.caveat


def test_classes_and_sizes_add_up() -> None:
    found = {"a": detector(TRUTH, jitter=0.1, seed=1), "b": detector(TRUTH, jitter=0.03, seed=2)}
    comparison = compare_predictions(TRUTH, found, resamples=200)
    (difference,) = comparison.differences
    metrics = [evaluate_coco(TRUTH, rows) for rows in found.values()]
    per_class = {c.name: c for c in metrics[0].per_class}
    assert sum(part.boxes for part in difference.per_class) == len(TRUTH["annotations"])
    assert [part.boxes for part in difference.per_class] == sorted(
        (c.boxes for c in per_class.values()), reverse=True
    )
    for part in difference.per_class:
        assert part.reference_ap == pytest.approx(per_class[part.name].ap)
        assert part.interval.estimate == pytest.approx(part.ap - part.reference_ap)
        assert part.few == (part.boxes < 10)
    mean = sum(part.interval.estimate for part in difference.per_class) / len(difference.per_class)
    assert mean == pytest.approx(difference.interval.estimate)
    for part, size in zip(difference.sizes, ("small", "medium", "large"), strict=True):
        assert part.name == size
        for ap, own in zip((part.reference_ap, part.ap), metrics, strict=True):
            assert ap == pytest.approx(getattr(own, f"ap_{size}"))


def test_too_few_images_get_no_interval() -> None:
    truth = copy.deepcopy(TRUTH)
    truth["categories"].append({"id": 9, "name": "rare"})
    for k, image in enumerate((0, 1, 1, 2)):
        box = [float(k), 0.0, 190.0, 190.0]  # the only large ones
        truth["annotations"].append(
            {"id": 900 + k, "image_id": image, "category_id": 9, "bbox": box, "iscrowd": 0}
        )
    found = {name: detector(truth, jitter=0.05, recall=1.0, seed=k) for k, name in enumerate("ab")}
    (difference,) = compare_predictions(truth, found, resamples=100).differences
    rare = next(part for part in difference.per_class if part.name == "rare")
    assert (rare.boxes, rare.images, rare.interval, rare.few) == (4, 3, None, True)
    large = difference.sizes[2]
    assert (large.name, large.boxes, large.images, large.interval) == ("large", 4, 3, None)
    assert large.ap is not None
    rows = detector(TRUTH, jitter=0.05, seed=1)
    empty = compare_predictions(TRUTH, {"a": rows, "b": []}, resamples=100).differences[0].sizes[2]
    assert (empty.boxes, empty.ap, empty.interval) == (0, None, None)


def test_a_detector_against_itself_has_nothing_to_plan_from() -> None:
    rows = detector(TRUTH, jitter=0.1, seed=1)
    (difference,) = compare_predictions(
        TRUTH, {"a": rows, "b": rows}, resamples=100, plan_for=0.01
    ).differences
    assert difference.outcome == "not distinguishable"
    assert difference.p_value == 1
    assert difference.plan_words == "The two score the same on every resample: there is no error to plan from"


def test_groups_widen_the_interval_where_images_repeat_each_other() -> None:
    """Every scene photographed four times: taken for single images, they promise twice the precision."""
    base = scenes(24, seed=3)
    copies = 4
    truth = base | {
        "images": [
            {"id": copies * i["id"] + k, "width": 200, "height": 200, "scene": i["id"]}
            for i in base["images"]
            for k in range(copies)
        ],
        "annotations": [
            a | {"id": copies * a["id"] + k, "image_id": copies * a["image_id"] + k}
            for a in base["annotations"]
            for k in range(copies)
        ],
    }
    arms = {
        name: [
            p | {"image_id": copies * p["image_id"] + k}
            for p in detector(base, jitter=jitter, seed=seed)
            for k in range(copies)
        ]
        for name, jitter, seed in (("a", 0.1, 1), ("b", 0.08, 2))
    }
    alone = compare_predictions(truth, arms, resamples=400)
    grouped = compare_predictions(truth, arms, resamples=400, group_by="scene")
    ratio = grouped.differences[0].interval.standard_error / alone.differences[0].interval.standard_error
    assert ratio == pytest.approx(2, abs=0.4)
    assert (grouped.groups, grouped.group_by) == (24, "scene")
    assert grouped.differences[0].p_value > alone.differences[0].p_value
    assert "With 24 groups" in grouped.caveat


def test_a_plan_is_part_of_the_comparison() -> None:
    found = {"a": detector(TRUTH, jitter=0.1, seed=1), "b": detector(TRUTH, jitter=0.1, seed=2)}
    (difference,) = compare_predictions(TRUTH, found, resamples=200, plan_for=0.02).differences
    assert difference.plan.difference == 0.02
    assert difference.plan.images_needed[0] > 24
    assert difference.plan_words.startswith("To find a true difference of 2 AP points")
    for wrong in (0.0, -0.01, 2.0):
        with pytest.raises(UsageError, match="must be above 0"):
            compare_predictions(TRUTH, found, plan_for=wrong)


def test_the_other_ends_of_the_interval() -> None:
    found = {"a": detector(TRUTH, jitter=0.1, seed=1), "b": detector(TRUTH, jitter=0.05, seed=2)}
    bca, basic = (compare_predictions(TRUTH, found, resamples=200, interval=m) for m in ("bca", "basic"))
    one, other = bca.differences[0].interval, basic.differences[0].interval
    assert (one.method, other.method) == ("BCa", "basic")
    assert (one.bca, one.basic) == (other.bca, other.basic)
    assert (other.low, other.high) == other.basic


def test_arms_as_they_are_typed() -> None:
    assert parse_arm("kd = a.json, b.json") == ("kd", (Path("a.json"), Path("b.json")))
    for wrong in ("kd", "=a.json", "kd=", "kd= , "):
        with pytest.raises(UsageError, match="write it as NAME=PATH"):
            parse_arm(wrong)
    with pytest.raises(UsageError, match="a path is given twice"):
        parse_arm("kd=a.json,./a.json")


def test_settings_that_older_records_lack_are_compared_as_their_defaults() -> None:
    now = {"recipe": {"train": TrainConfig(lr=1e-3).model_dump(mode="json")}, "init_hash": "a", "steps": 5}
    old = {**now, "recipe": {"train": {k: v for k, v in now["recipe"]["train"].items() if k != "augment"}}}
    assert confounders("old", old, "now", now) == []
    train = TrainConfig(lr=1e-3, augment=AugmentConfig(mosaic=0.5)).model_dump(mode="json")
    (told,) = confounders("old", old, "strong", {**now, "recipe": {"train": train}})
    assert told.startswith("augmentation: ")
