"""A run notices a teacher that is trained, a projection that is not, terms that say nothing."""

import pytest
import torch
from torch import nn

from taco_kd.errors import TacoKDError
from taco_kd.train.selfcheck import STOP_AFTER, WARN_AFTER, SelfCheck, Term
from taco_kd.types import DetectorOutput

BOXES = Term("distill.boxes", needs_pairs=True, min_score=0.3)


def frozen():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()).eval().requires_grad_(False)


def check(teacher=None, terms=None, projections=(), trained=None):
    trained = [nn.Parameter(torch.zeros(1)), *projections] if trained is None else trained
    optimizer = torch.optim.SGD(trained, lr=1.0)
    return SelfCheck([teacher or frozen()], terms or {"kd_boxes": BOXES}, projections, optimizer)


def test_a_sound_run_says_so_in_its_record():
    projection = nn.Parameter(torch.zeros(3))
    found = check(
        terms={"kd_boxes": BOXES, "kd_features": Term("distill.features")}, projections=[projection]
    )
    for _ in range(2):
        found.teacher_output(DetectorOutput(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)))
    found.gradients([], step=1)
    found.step(1, {"kd_boxes": 0.0, "kd_features": 0.2}, 0)
    found.step(2, {"kd_boxes": 0.1, "kd_features": 0.2}, 3)
    assert found.record()["teacher_unchanged"] is None
    found.end()
    assert found.record() == {
        "teacher_eval": True,
        "teacher_frozen": True,
        "teacher_outputs_without_gradient": 2,
        "teacher_unchanged": True,
        "projections_in_optimizer": 1,
        "first_step_not_zero": {"kd_boxes": 2, "kd_features": 1},
        "ranks": 1,
        "steps_gradients_compared": 0,
    }


def test_a_teacher_in_training_mode():
    teacher = frozen()
    teacher[2].train()
    with pytest.raises(TacoKDError, match="teacher 1 is in training mode"):
        check(teacher)


def test_a_teacher_that_can_be_trained():
    teacher = frozen()
    teacher[0].bias.requires_grad_(True)
    with pytest.raises(TacoKDError, match="teacher 1 is not frozen"):
        check(teacher)


def test_a_teacher_that_changed():
    teacher = frozen()
    found = check(teacher)
    teacher[1].running_mean += 0.1  # as a forward in training mode would
    with pytest.raises(TacoKDError, match="weights of teacher 1 changed"):
        found.end()


def test_a_teacher_output_with_a_gradient():
    with pytest.raises(TacoKDError, match="carries a gradient"):
        check().teacher_output(DetectorOutput(torch.zeros(1, 2, 3), nn.Parameter(torch.zeros(1, 2, 4)) * 2))


def test_a_projection_that_is_not_trained():
    with pytest.raises(TacoKDError, match="projection is not in the optimiser"):
        check(projections=[nn.Parameter(torch.zeros(1))], trained=[nn.Parameter(torch.zeros(1))])


def test_a_term_that_stays_zero_is_told_and_then_ends_the_run(capsys):
    found = check(terms={"kd_boxes": BOXES, "kd_classes": Term("distill.classes", True, 0.3)})
    for step in range(1, STOP_AFTER):
        found.step(step, {"kd_boxes": 0.0, "kd_classes": 0.5}, 0)
        said = capsys.readouterr().err.replace("\n", " ")
        assert bool(said) == (step == WARN_AFTER)
        if said:
            assert "kd_boxes was zero in all of 10 steps" in said
            assert "distill.min_teacher_score=0.3" in said
            assert "kd_classes" not in said
    with pytest.raises(TacoKDError, match=r"kd_boxes was zero in all of 100 steps.*distill\.boxes=off"):
        found.step(STOP_AFTER, {"kd_boxes": 0.0, "kd_classes": 0.5}, 0)


def test_a_short_run_tells_at_its_end(capsys):
    found = check()
    found.step(1, {"kd_boxes": 0.0}, 0)
    found.end()
    assert "kd_boxes was zero in all of 1 steps" in capsys.readouterr().err.replace("\n", " ")
