"""Class maps and query pairing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.classes.class_map import ClassMap
from taco_kd.classes.spaces import NO_CLASS
from taco_kd.distill.pairing import HARD_LOGIT, PairingSettings, pair, pair_layers
from taco_kd.distill.pairing.assigned import assigned_queries
from taco_kd.distill.pairing.matching import assign, box_cost
from taco_kd.distill.pairing.seen import seen_by
from taco_kd.distill.pairing.truth import judge
from taco_kd.errors import UsageError
from taco_kd.types import DetectorOutput, LayerOutput, Targets

LEFT, RIGHT, NOTHING = [0.2, 0.5, 0.1, 0.1], [0.8, 0.5, 0.1, 0.1], [0.5, 0.1, 0.05, 0.05]
SURE = torch.tensor(4.0).sigmoid().item()
ONE_TO_ONE = pytest.mark.parametrize("kind", ["hungarian", "pseudo-gt"])


def output(logits, boxes):
    return DetectorOutput(torch.tensor(logits, dtype=torch.float32), torch.tensor(boxes, dtype=torch.float32))


def test_classes_between_ignore_order():
    mapped = ClassMap.between(["can", "cup", "film"], ["film", "person", "can"])
    assert (mapped.student, mapped.teacher) == ([0, 2], [(2,), (0,)])


def test_classes_by_index_is_the_paper_slice():
    mapped = ClassMap.by_index(["a", "b", "c"], ["x", "y"])
    assert (mapped.student, mapped.teacher) == ([0, 1], [(0,), (1,)])


def test_no_shared_name_is_an_error_that_says_what_to_do():
    with pytest.raises(UsageError, match=r"share no class name.*distill\.classes=off"):
        ClassMap.between(["can"], ["person"])


@given(
    st.lists(st.text(min_size=1, max_size=3).filter(lambda n: n != NO_CLASS), unique=True, min_size=1),
    st.randoms(),
)
def test_by_name_pairs_equal_names_whatever_the_order(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    mapped = ClassMap.between(names, shuffled)
    assert [names[i] for i in mapped.student] == [shuffled[i] for (i,) in mapped.teacher] == names


def test_a_gap_in_a_head_is_nobodys_partner():
    mapped = ClassMap.between(["can", NO_CLASS], [NO_CLASS, "can"])
    assert (mapped.student, mapped.teacher) == ([0], [(1,)])


def test_index_pairs_query_i_with_query_i():
    student = output([[[0.0]] * 3] * 2, [[[0.5] * 4] * 3] * 2)
    teacher = output([[[1.0], [2.0]], [[3.0], [4.0]]], [[LEFT, RIGHT], [RIGHT, LEFT]])
    pairs = pair(student, teacher, ClassMap([0], [(0,)]), PairingSettings("index"))
    assert pairs.image.tolist() == [0, 0, 1, 1]
    assert pairs.student.tolist() == pairs.teacher.tolist() == [0, 1, 0, 1]
    assert pairs.target_logits.flatten().tolist() == [1, 2, 3, 4]
    assert pairs.target_boxes.tolist() == torch.tensor([LEFT, RIGHT, RIGHT, LEFT]).tolist()


@ONE_TO_ONE
def test_matching_finds_the_same_object_under_another_query_and_class_order(kind):
    # student classes (a, b), teacher classes (b, a)
    student = output([[[-5, 4], [-5, -5], [4, -5]]], [[RIGHT, NOTHING, LEFT]])
    teacher = output([[[-5, 4], [4, -5], [-5, -5]]], [[LEFT, RIGHT, NOTHING]])
    classes = ClassMap.between(["a", "b"], ["b", "a"])
    pairs = pair(student, teacher, classes, PairingSettings(kind, min_score=0.5))
    assert dict(zip(pairs.teacher.tolist(), pairs.student.tolist(), strict=True)) == {0: 2, 1: 0}
    assert pairs.score.tolist() == pytest.approx([SURE] * 2)
    wanted = dict(zip(pairs.teacher.tolist(), pairs.target_logits.tolist(), strict=True))
    sure, other = (4, -5) if kind == "hungarian" else (HARD_LOGIT, -HARD_LOGIT)
    assert wanted == {0: [sure, other], 1: [other, sure]}
    boxes = dict(zip(pairs.teacher.tolist(), pairs.target_boxes.tolist(), strict=True))
    assert boxes[0] == pytest.approx(LEFT)
    assert boxes[1] == pytest.approx(RIGHT)


@ONE_TO_ONE
def test_matching_without_a_confident_query_is_empty(kind):
    both = output([[[-9.0, -9.0]]], [[[0.5] * 4]])
    pairs = pair(both, both, ClassMap([0, 1], [(0,), (1,)]), PairingSettings(kind))
    assert len(pairs) == 0
    assert both.logits[pairs.image, pairs.student].shape == (0, 2)
    assert pairs.target_logits.shape == (0, 2)
    assert pairs.target_boxes.shape == (0, 4)


@ONE_TO_ONE
def test_images_with_and_without_objects_and_few_student_queries(kind):
    teacher = output([[[-9.0]] * 3, [[4.0], [4.0], [3.0]]], [[LEFT, RIGHT, NOTHING]] * 2)
    student = output([[[0.0]] * 2] * 2, [[NOTHING, LEFT]] * 2)
    pairs = pair(student, teacher, ClassMap([0], [(0,)]), PairingSettings(kind))
    assert pairs.image.tolist() == [1, 1]  # two queries, three objects: the two cheapest
    assert set(zip(pairs.student.tolist(), pairs.teacher.tolist(), strict=True)) == {(0, 2), (1, 0)}


@ONE_TO_ONE
def test_every_layer_is_matched_on_its_own(kind):
    teacher = output([[[4.0], [4.0]]], [[LEFT, RIGHT]])
    first = LayerOutput(torch.zeros(1, 2, 1), torch.tensor([[LEFT, RIGHT]]))
    last = output([[[0.0], [0.0]]], [[RIGHT, LEFT]])
    found = pair_layers([first, last], teacher, ClassMap([0], [(0,)]), PairingSettings(kind))
    assert [dict(zip(p.teacher.tolist(), p.student.tolist(), strict=True)) for p in found] == [
        {0: 0, 1: 1},
        {0: 1, 1: 0},
    ]


def test_of_duplicates_the_most_confident_is_seen():
    nearly = [0.205, 0.5, 0.1, 0.1]
    teacher = output([[[2.0, -9], [-9.0, 3.0], [1.0, -9], [-9, -9]]], [[LEFT, nearly, RIGHT, NOTHING]])
    seen = seen_by(teacher, ClassMap([0, 1], [(0,), (1,)]), PairingSettings())
    assert seen.query.tolist() == [1, 2]  # whatever it is called: one object
    assert seen.place.tolist() == [0, 1]
    both = seen_by(teacher, ClassMap([0, 1], [(0,), (1,)]), PairingSettings(duplicate_iou=1.0))
    assert both.query.tolist() == [1, 0, 2]
    capped = seen_by(teacher, ClassMap([0, 1], [(0,), (1,)]), PairingSettings(max_queries=1))
    assert capped.query.tolist() == [1]


def test_injected_has_its_own_function():
    both = output([[[0.0]]], [[LEFT]])
    with pytest.raises(ValueError, match="make_group"):
        pair(both, both, ClassMap([0], [(0,)]), PairingSettings("injected"))


def test_box_cost_by_hand():
    # IoU 0, hull 7x1 over boxes of 1x1 each: GIoU = 0 - (7 - 2) / 7; L1 = 6 in units of a tenth
    a, b = torch.tensor([[[0.15, 0.5, 0.1, 0.1]]]), torch.tensor([[[0.75, 0.5, 0.1, 0.1]]])
    assert box_cost(a, b).item() == pytest.approx(5 * 0.6 + 2 * 5 / 7, rel=1e-4)
    assert box_cost(a, a).item() == pytest.approx(-2, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(0, 6), st.integers(0, 10**6))
def test_assignments_are_one_to_one_and_complete(images, queries, objects, seed):
    generator = torch.Generator().manual_seed(seed)
    cost = torch.rand(images, queries, objects, generator=generator)
    counts = torch.randint(0, objects + 1, (images,), generator=generator).tolist()
    image, rows, columns = (column.tolist() for column in assign(cost, counts))
    for b, count in enumerate(counts):
        own = [row for row, where in zip(rows, image, strict=True) if where == b]
        wanted = [column for column, where in zip(columns, image, strict=True) if where == b]
        assert len(own) == len(set(own)) == len(set(wanted)) == min(count, queries)
        assert all(column < count for column in wanted)


def test_values_that_are_not_numbers_come_last():
    cost = torch.tensor([[[float("nan")], [2.0], [float("inf")]]])
    assert assign(cost, [1])[1].tolist() == [1]


def objects(*pairs_of_box_and_class):
    boxes, ids = zip(*pairs_of_box_and_class, strict=True) if pairs_of_box_and_class else ((), ())
    return Targets(torch.tensor(boxes).view(-1, 4), torch.tensor(ids, dtype=torch.long), 0)


def test_assigned_is_the_query_that_the_detection_loss_trains():
    # query 1 is nearer to the teacher's box of the object, query 0 to the true one
    teachers = [0.26, 0.5, 0.2, 0.2]
    student = output([[[0.0], [0.0], [0.0]]], [[[0.2, 0.5, 0.2, 0.2], teachers, RIGHT]])
    teacher = output([[[-9.0], [1.0], [2.0]]], [[NOTHING, teachers, RIGHT]])
    targets = [objects(([0.2, 0.5, 0.2, 0.2], 0))]
    classes = ClassMap([0], [(0,)])
    pairs = pair(student, teacher, classes, PairingSettings("assigned"), targets)
    assert (pairs.student.tolist(), pairs.teacher.tolist()) == ([0], [1])  # and nothing for RIGHT
    assert pairs.target_boxes[0].tolist() == pytest.approx(teachers)
    matched = pair(student, teacher, classes, PairingSettings("hungarian"))
    assert dict(zip(matched.teacher.tolist(), matched.student.tolist(), strict=True)) == {1: 1, 2: 2}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_assignment_is_that_of_transformers(seed):
    from transformers import RTDetrV2Config
    from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

    g = torch.Generator().manual_seed(seed)

    def boxes(*shape):
        return torch.rand(*shape, 4, generator=g) * 0.4 + 0.2

    layer = LayerOutput(torch.randn(3, 12, 4, generator=g), boxes(3, 12))
    targets = [Targets(boxes(n), torch.randint(0, 4, (n,), generator=g), n) for n in (3, 0, 5)]
    labels = [{"class_labels": t.class_ids, "boxes": t.boxes_cxcywh} for t in targets]
    outputs = {"logits": layer.logits, "pred_boxes": layer.boxes_cxcywh}
    theirs = RTDetrHungarianMatcher(RTDetrV2Config())(outputs, labels)
    ours = assigned_queries(layer, targets)
    for row, (query, place) in zip(ours, theirs, strict=True):
        expected = dict(zip(place.tolist(), query.tolist(), strict=True))
        assert {i: q for i, q in enumerate(row.tolist()) if q >= 0} == expected


def test_judgement_by_hand():
    near = [0.22, 0.5, 0.1, 0.1]  # sees LEFT
    far = [0.4, 0.5, 0.1, 0.1]  # sees nothing, but LEFT is nearest
    teacher = output([[[2.0], [2.0], [2.0]]], [[LEFT, RIGHT, NOTHING]])
    student = output([[[2.0], [-2.0], [2.0]]], [[far, RIGHT, near]])
    targets = [objects((LEFT, 0), (RIGHT, 0))]
    pairs = pair(student, teacher, ClassMap([0], [(0,)]), PairingSettings("index"))
    found = judge(pairs, student, targets)
    assert found.teacher.tolist() == [0, 1, -1]
    assert found.student.tolist() == [-1, 1, 0]
    assert found.nearest.tolist() == [0, 1, 0]
    assert found.assigned.tolist() == [-1, 1, 0]
    assert found.right(found.student).tolist() == [False, True, False]
    assert found.right(found.nearest).tolist() == [True, True, False]


def test_judgement_without_objects_or_pairs():
    nothing = output([[[-9.0]]] * 2, [[LEFT]] * 2)
    targets = [objects(), objects((LEFT, 0))]
    classes = ClassMap([0], [(0,)])
    found = judge(pair(nothing, nothing, classes, PairingSettings("index")), nothing, targets)
    assert found.teacher.tolist() == [-1, 0]
    assert len(judge(pair(nothing, nothing, classes, PairingSettings()), nothing, targets).teacher) == 0
    assert len(pair(nothing, nothing, classes, PairingSettings("assigned"), [objects()] * 2)) == 0
