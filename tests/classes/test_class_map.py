"""Classes by name: shipped label spaces, partners, tables, and what a teacher's scores become."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.classes.class_map import ClassMap
from taco_kd.classes.spaces import NO_CLASS, SPACES, partners, plain, space, space_or_file
from taco_kd.classes.tables import TABLES, read_table, resolve
from taco_kd.errors import DataError, UsageError

names_of = st.lists(st.text("abcXYZ _-", min_size=1, max_size=5), min_size=1, max_size=8, unique=True)
quick = settings(max_examples=80, deadline=None)


def test_the_shipped_label_spaces_have_their_known_sizes_and_landmarks():
    assert {name: len(space(name)) for name in SPACES} == {
        "coco-80": 80,
        "coco-91": 91,
        "taco-60": 60,
        "taco-28": 28,
        "taco-10": 10,
    }
    coco91 = space("coco-91")
    gaps = [i for i, name in enumerate(coco91) if name == NO_CLASS]
    assert gaps == [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83]
    assert tuple(name for name in coco91 if name != NO_CLASS) == space("coco-80")
    # pycocotools' well-known ids
    assert (coco91[1], coco91[44], coco91[90]) == ("person", "bottle", "toothbrush")
    assert space("taco-60")[5] == "Clear plastic bottle"


@pytest.mark.shared
def test_taco_is_as_its_official_file_says(shared):
    official = json.loads((shared / "taco_val225/taco_official_annotations.json").read_text())["categories"]
    assert [c["id"] for c in official] == list(range(60))
    assert tuple(c["name"] for c in official) == space("taco-60")
    assert tuple(dict.fromkeys(c["supercategory"] for c in official)) == space("taco-28")
    to_super = dict(resolve(read_table("taco-60-to-taco-28"), space("taco-60"), space("taco-28")))
    assert [space("taco-28")[to_super[c["id"]]] for c in official] == [c["supercategory"] for c in official]


@pytest.mark.parametrize(
    ("table", "source", "target"),
    [
        ("coco-to-taco", "coco-80", "taco-60"),
        ("coco-to-taco", "coco-91", "taco-60"),
        ("taco-60-to-taco-10", "taco-60", "taco-10"),
        ("taco-60-to-taco-28", "taco-60", "taco-28"),
    ],
)
def test_every_row_of_a_shipped_table_names_classes_that_exist(table, source, target):
    read = read_table(table)
    assert {row.source for row in read.rows} <= set(space(source))
    assert {row.target for row in read.rows} <= set(space(target))
    assert len(resolve(read, space(source), space(target))) == len(read.rows)
    if source == "taco-60":  # a coarser map gives each category one class, and leaves no class empty
        assert sorted(row.source for row in read.rows) == sorted(space(source))
        assert {row.target for row in read.rows} == set(space(target))
    assert table in TABLES


def test_coco_heads_of_80_and_91_places_are_joined_by_name_never_by_index():
    mapped = ClassMap.between(space("coco-80"), space("coco-91"))
    assert len(mapped.student) == 80
    pairs = [(i, j) for i, (j,) in zip(mapped.student, mapped.teacher, strict=True)]
    assert all(space("coco-80")[i] == space("coco-91")[j] for i, j in pairs)
    assert all(i != j for i, j in pairs)
    # the paper's code sliced by index: its student's "person" learnt from the teacher's "N/A"
    sliced = ClassMap.by_index(space("coco-80"), space("coco-91"))
    assert (sliced.student[0], sliced.teacher[0]) == (0, (0,))


def test_spelling_does_not_part_classes_and_no_class_has_no_partner():
    assert partners(["Plastic_film", "sofa", NO_CLASS], ["couch", NO_CLASS, "plastic film"]) == {0: 2, 1: 0}
    # the same name wins over a spelling of it, and a choice between spellings is no partner at all
    assert partners(["Can", "can"], ["can"]) == {1: 0}
    assert partners(["cup"], ["Cup", "CUP"]) == {}
    assert partners(["cup"], ["Cup", "cup"]) == {0: 1}


@quick
@given(names_of, names_of)
def test_partners_are_one_to_one_symmetric_and_by_name(a, b):
    found = partners(a, b)
    assert len(set(found.values())) == len(found)
    assert {j: i for i, j in found.items()} == partners(b, a)
    assert all(plain(a[i]) == plain(b[j]) for i, j in found.items())
    assert {i for i, name in enumerate(a) if name in b} <= found.keys()


@quick
@given(names_of, st.randoms())
def test_a_shuffled_head_gives_the_same_scores(names, random):
    shuffled = names[:]
    random.shuffle(shuffled)
    logits = torch.linspace(-3, 3, len(names))
    teacher = torch.stack([logits[names.index(name)] for name in shuffled])
    mapped = ClassMap.between(names, shuffled)
    assert torch.equal(mapped.teacher_logits(teacher), mapped.student_logits(logits))


def test_a_table_adds_partners_but_never_replaces_a_name(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("from,to\ncup,Cup lid\ncup,Paper cup\nfork,Utensils\nspoon,Utensils\n")
    student = ["cup", "Paper cup", "Utensils", "Cup lid"]
    mapped = ClassMap.between(student, ["spoon", "cup", "fork"], read_table(str(table)))
    assert dict(mapped.names(student, ["spoon", "cup", "fork"])) == {
        "cup": "cup",
        "Paper cup": "cup",
        "Utensils": "fork, spoon",
        "Cup lid": "cup",
    }


def test_scores_of_shared_classes_are_split_and_of_several_partners_the_best():
    mapped = ClassMap([0, 1, 2], [(0,), (0,), (1, 2)])
    logits = torch.tensor([[0.8, 0.1, 0.6]]).logit()
    assert mapped.teacher_logits(logits).sigmoid()[0].tolist() == pytest.approx([0.4, 0.4, 0.6], abs=1e-5)
    assert mapped.teacher_confidence(logits).item() == pytest.approx(0.8)  # sure of the thing, not of which


def test_coco_scores_in_taco_classes_through_the_shipped_table():
    mapped = ClassMap.between(space("taco-60"), space("coco-91"), read_table("coco-to-taco"))
    words = dict(mapped.names(space("taco-60"), space("coco-91")))
    assert words["Glass bottle"] == "bottle"
    assert words["Plastic utensils"] == "fork, knife, spoon"
    assert len(words) == 12
    with pytest.raises(UsageError, match="teacher and student share no class name"):
        ClassMap.between(space("taco-60"), space("coco-91"))


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (
            "from,to\nbotle,Glass bottle\n",
            UsageError,
            r":2: from = 'botle' is no class; did you mean 'bot",
        ),
        (
            "from,to\n# x\nbottle,Glas bottle\n",
            UsageError,
            r":3: to = 'Glas bottle' is no class; did you mean",
        ),
        ("from,to\nqqqq,Glass bottle\n", UsageError, r":2: from = 'qqqq' is no class of person, bicycle"),
        (
            "teacher,student\na,b\n",
            DataError,
            r":1: the header is 'teacher,student'; it must name from and to",
        ),
        ("from,to\nbottle\n", DataError, r":2: 'bottle' does not name two classes"),
        ("from,to\n", DataError, "holds no row below its header"),
        ("", DataError, "holds no row"),
        (b"\xff\xfe", DataError, "not UTF-8 text"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path, content, error, says):
    path = tmp_path / "map.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=says) as raised:
        resolve(read_table(str(path)), space("coco-80"), space("taco-60"))
    assert str(raised.value).startswith(str(path))


def test_a_table_or_space_that_is_not_there():
    with pytest.raises(UsageError, match="unknown class table 'coco-to-tacos': choose one of coco-to-taco, "):
        read_table("coco-to-tacos")
    with pytest.raises(UsageError, match="unknown label space 'coco': choose one of coco-80, coco-91, "):
        space_or_file("coco")


def test_a_label_space_in_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("# my head\ncan\nN/A\nN/A\ncup\n")
    assert space_or_file(str(path)) == ("can", "N/A", "N/A", "cup")
    path.write_text("can\ncup\ncan\n")
    with pytest.raises(DataError, match="names 'can' twice"):
        space_or_file(str(path))
    path.write_text("# nothing\n")
    with pytest.raises(DataError, match="holds no class name"):
        space_or_file(str(path))
