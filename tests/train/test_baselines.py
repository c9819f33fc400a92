"""The baselines are trained by one loop on one configuration; only the model differs, and what is named."""

import pytest

from taco_kd.config import load_recipe
from taco_kd.config.resolved import resolved
from taco_kd.train.stage import train

DIFFER = {"clip_norm"}
"""Settings of [train] that may differ between RT-DETR and YOLO; the recipe says why."""


@pytest.mark.parametrize("pair", [("baseline", "yolo11-l")])
def test_only_the_model_and_what_is_named_differ(pair):
    one, other = (load_recipe(name) for name in pair)
    ours, theirs = (recipe.train.model_dump() for recipe in (one, other))
    assert {key for key in ours if ours[key] != theirs[key]} == DIFFER
    plain = [
        recipe.model_dump(exclude={"name", "description", "train", "student"}) for recipe in (one, other)
    ]
    assert plain[0] == plain[1]  # no teacher, no pseudo-labels, labels on, one stage
    for key in one.student.model_dump():
        if key != "model":
            assert getattr(one.student, key) == getattr(other.student, key)
    notes = {setting.key: setting.note for setting in resolved("yolo11-l", {})[1]}
    assert all(notes[f"train.{key}"] for key in DIFFER)


@pytest.mark.parametrize("model", ["rtdetr-nano", "rtdetr-hgnetv2-nano", "yolo11-nano"])
def test_small_twins_are_trained_by_the_same_settings(model, small_data, tmp_path):
    recipe = load_recipe(
        "nano-baseline",
        [
            *(f"student.model={model}", "student.weights=random", "student.image_size=96"),
            *("train.steps=2", "train.batch_size=4"),
        ],
    )
    run = train(recipe, small_data, tmp_path / model)
    record = run.record()
    assert record["status"] == "finished"
    assert "engine" not in record
    assert record["recipe"]["train"] == load_recipe(
        "nano-baseline", ["train.steps=2", "train.batch_size=4"]
    ).train.model_dump(mode="json")
    assert len(list(run.log())) == 2
