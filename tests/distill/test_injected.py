"""The injected group: where each query begins, and what its answer is."""

import pytest
import torch

from taco_kd.classes.class_map import ClassMap
from taco_kd.distill.pairing import GROUND_TRUTH, HARD_LOGIT, PairingSettings, make_group
from taco_kd.types import DetectorOutput, Targets

A, B, C = [0.2, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2], [0.5, 0.15, 0.1, 0.1]
NEAR_A = [0.22, 0.5, 0.2, 0.2]
EXACT = PairingSettings("injected", label_noise_ratio=0, box_noise_scale=0)
# student classes: can cup film; the teacher's: film can person. Shared: can, film
CLASSES = ClassMap.between(["can", "cup", "film"], ["film", "can", "person"])


def teacher(*queries):
    logits, boxes = zip(*queries, strict=True)
    return DetectorOutput(torch.tensor([logits], dtype=torch.float32), torch.tensor([boxes]))


def truth(*objects):
    return [
        Targets(
            torch.tensor([box for box, _ in objects]).view(-1, 4),
            torch.tensor([c for _, c in objects], dtype=torch.long),
            0,
        )
    ]


def group(output, targets, settings=EXACT, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return make_group(output, targets, CLASSES, settings, num_classes=3, generator=generator)


def test_a_true_object_is_answered_by_the_query_that_sees_it_however_unsure():
    sees = ([-9.0, -2.0, -9.0], NEAR_A)
    wrong_class = ([3.0, -9.0, -9.0], A)
    queries, pairs = group(teacher(wrong_class, sees), truth((A, 0)))
    assert queries.valid.tolist() == [[True, True]]
    # the most confident first: what the teacher calls film, then the can that is there
    assert queries.class_ids.tolist() == [[2, 0]]
    assert torch.allclose(queries.boxes_cxcywh, torch.tensor([[A, A]]), atol=1e-6)
    assert (pairs.image.tolist(), pairs.student.tolist(), pairs.teacher.tolist()) == ([0, 0], [0, 1], [0, 1])
    assert pairs.score.tolist() == pytest.approx(torch.tensor([3.0, -2.0]).sigmoid().tolist())
    assert pairs.target_logits.tolist() == [[-9, 3], [-2, -9]]  # over can, film
    assert torch.allclose(pairs.target_boxes, torch.tensor([A, NEAR_A]))
    truth_only = PairingSettings("injected", label_noise_ratio=0, box_noise_scale=0, beside_truth=False)
    _, pairs = group(teacher(wrong_class, sees), truth((A, 0)), truth_only)
    assert pairs.teacher.tolist() == [1]


def test_one_object_is_one_query_although_the_teacher_is_confident_of_it_too():
    queries, pairs = group(teacher(([-9.0, 3.0, -9.0], NEAR_A), ([-9.0, 2.0, -9.0], A)), truth((A, 0)))
    assert len(queries) == 1
    assert pairs.teacher.tolist() == [0]
    assert torch.allclose(queries.boxes_cxcywh, torch.tensor([[A]]), atol=1e-6)  # begins at the truth


def test_a_missed_object_is_left_out_or_answered_by_the_truth():
    blind = teacher(([-9.0, -9.0, -9.0], C))
    queries, pairs = group(blind, truth((A, 0)))
    assert queries.valid.shape == (1, 0)
    assert len(pairs) == 0
    answering = PairingSettings("injected", label_noise_ratio=0, box_noise_scale=0, answer_missed=True)
    queries, pairs = group(blind, truth((A, 0), (B, 1)), answering)  # no cup in the teacher's classes
    assert queries.class_ids.tolist() == [[0]]
    assert (pairs.teacher.tolist(), pairs.score.tolist()) == ([GROUND_TRUTH], [1.0])
    assert pairs.target_logits.tolist() == [[HARD_LOGIT, -HARD_LOGIT]]
    assert torch.allclose(pairs.target_boxes, torch.tensor([A]))


def test_padding_caps_and_empty_images():
    output = teacher(([-9.0, 3.0, -9.0], A), ([2.0, -9.0, -9.0], B), ([1.0, -9.0, -9.0], C))
    two = DetectorOutput(torch.cat([output.logits, output.logits - 20]), output.boxes_cxcywh.repeat(2, 1, 1))
    empty = truth()
    queries, pairs = make_group(two, empty * 2, CLASSES, EXACT, num_classes=3)
    assert queries.valid.tolist() == [[True] * 3, [False] * 3]
    assert queries.class_ids.tolist() == [[0, 2, 2], [3, 3, 3]]
    assert pairs.image.tolist() == [0, 0, 0]
    capped = PairingSettings("injected", max_queries=2)
    queries, pairs = make_group(two, empty * 2, CLASSES, capped, num_classes=3)
    assert queries.valid.shape == (2, 2)
    assert pairs.teacher.tolist() == [0, 1]  # the best are kept


def test_noise_is_that_of_denoising_and_comes_again_with_the_seed():
    boxes = torch.rand(1, 400, 4, generator=torch.Generator().manual_seed(2)) * 0.2 + 0.4
    logits = torch.full((1, 400, 3), -9.0)
    logits[..., 1] = 5
    output = DetectorOutput(logits, boxes)
    noisy = PairingSettings("injected", duplicate_iou=1.0, max_queries=400)
    first, pairs = group(output, truth(), noisy, seed=1)
    again, _ = group(output, truth(), noisy, seed=1)
    other, _ = group(output, truth(), noisy, seed=2)
    assert torch.equal(first.boxes_cxcywh, again.boxes_cxcywh)
    assert torch.equal(first.class_ids, again.class_ids)
    assert not torch.equal(first.boxes_cxcywh, other.boxes_cxcywh)
    moved = first.boxes_cxcywh[0] - pairs.target_boxes
    half = pairs.target_boxes[:, 2:] / 2
    assert (moved[:, :2].abs() <= half + 1e-6).all()  # a corner moves by less than half a side
    assert (moved[:, 2:].abs() <= 2 * half + 1e-6).all()
    assert moved.abs().mean() > 0.05
    renamed = (first.class_ids != 0).float().mean().item()
    assert renamed == pytest.approx(0.25 * 2 / 3, abs=0.06)  # a third of the new names is the old one
    assert set(first.class_ids.flatten().tolist()) == {0, 1, 2}
    assert (pairs.target_logits[:, 0] == 5).all()  # the answers know no noise
