"""Class maps and query pairing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taco_kd.classes.class_map import ClassMap
from taco_kd.classes.spaces import NO_CLASS
from taco_kd.distill import pairing
from taco_kd.errors import UsageError
from taco_kd.types import DetectorOutput


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
    teacher = output([[[0.0]] * 2] * 2, [[[0.5] * 4] * 2] * 2)
    pairs = pairing.by_index(student, teacher, ClassMap([0], [(0,)]))
    assert pairs.image.tolist() == [0, 0, 1, 1]
    assert pairs.student.tolist() == pairs.teacher.tolist() == [0, 1, 0, 1]


def test_hungarian_finds_the_same_object_under_another_query_and_class_order():
    left, right = [0.2, 0.5, 0.1, 0.1], [0.8, 0.5, 0.1, 0.1]
    nothing = [0.5, 0.1, 0.05, 0.05]
    # student classes (a, b), teacher classes (b, a)
    student = output([[[-5, 4], [-5, -5], [4, -5]]], [[right, nothing, left]])
    teacher = output([[[-5, 4], [4, -5], [-5, -5]]], [[left, right, nothing]])
    classes = ClassMap.between(["a", "b"], ["b", "a"])
    pairs = pairing.hungarian(student, teacher, classes, min_score=0.5)
    assert dict(zip(pairs.teacher.tolist(), pairs.student.tolist(), strict=True)) == {0: 2, 1: 0}
    assert pairs.score.tolist() == pytest.approx([torch.tensor(4.0).sigmoid().item()] * 2)


def test_hungarian_without_a_confident_query_is_empty():
    both = output([[[-9.0, -9.0]]], [[[0.5] * 4]])
    pairs = pairing.hungarian(both, both, ClassMap([0, 1], [(0,), (1,)]), min_score=0.3)
    assert len(pairs) == 0
    assert both.logits[pairs.image, pairs.student].shape == (0, 2)
