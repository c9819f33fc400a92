"""The grid: how many cells, in what order, with which settings."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taco_kd.errors import UsageError
from taco_kd.study.cells import expand, merged, select, waves
from taco_kd.study.config import ArmConfig, FoldsConfig, InitialisationConfig, StudyConfig, StudyData

OUT = Path("/nonexistent/out")
names = st.lists(st.from_regex(r"[a-z][a-z0-9.+-]{0,5}", fullmatch=True), min_size=1, max_size=3, unique=True)


def study(**values):
    arms = values.pop("arms", (ArmConfig(name="a", recipe="nano-baseline"),))
    base = {"name": "s", "description": "", "reference": "a", "data": StudyData(path=Path("d"))}
    return StudyConfig(**{**base, "arms": arms, **values})


@settings(max_examples=25, deadline=None)
@given(
    arms=names,
    starts=names | st.just([]),
    seeds=st.lists(st.integers(0, 30), min_size=1, max_size=3, unique=True),
    folds=st.none() | st.integers(2, 4),
)
def test_every_combination_is_one_cell_with_an_id_of_its_own(arms, starts, seeds, folds):
    cells = expand(
        study(
            arms=tuple(ArmConfig(name=name, recipe="nano-baseline") for name in arms),
            initialisations=tuple(InitialisationConfig(name=name, weights="random") for name in starts),
            seeds=tuple(seeds),
            folds=None if folds is None else FoldsConfig(count=folds),
        ),
        OUT,
    )
    wanted = set(product(arms, starts or [None], seeds, [None] if folds is None else range(folds)))
    assert {(c.arm, c.initialisation, c.seed, c.fold) for c in cells} == wanted
    assert len(cells) == len(wanted) == len({cell.id for cell in cells})
    assert [c.seed for c in cells] == [s for s in seeds for _ in range(len(cells) // len(seeds))]
    for cell in cells:
        assert cell.recipe.train.seed == cell.seed
        assert cell.run.path == OUT / "runs" / cell.id
        assert cell.recipe.student.weights == ("random" if starts else "packaged")
    assert select(cells, "*") == cells
    assert list(waves(cells)) == [list(cells)]


def test_an_arm_goes_before_the_initialisation_that_goes_before_the_study(tmp_path):
    start = InitialisationConfig(name="i", weights="w", set={"train": {"lr": 2.0, "epochs": 3}})
    arm = ArmConfig(
        name="a", recipe="nano-baseline", set={"train": {"lr": 3.0}, "student": {"weights": "mine"}}
    )
    other = ArmConfig(name="b", recipe="nano-baseline")
    values = {"train": {"lr": 1.0, "epochs": 2, "batch_size": 7}}
    a, b = expand(study(arms=(arm, other), initialisations=(start,), set=values), OUT)
    assert (a.recipe.train.lr, a.recipe.train.epochs, a.recipe.train.batch_size) == (3.0, 3, 7)
    assert (b.recipe.train.lr, b.recipe.student.weights) == (2.0, "w")
    assert a.recipe.student.weights == "mine"
    assert (a.recipe.name, b.recipe.name) == ("a_i", "b_i")
    assert a.recipe.train.clip_norm == 0.1  # as the recipe has it


def test_what_is_needed_comes_first_and_is_chosen_too():
    arms = (
        ArmConfig(name="last", recipe="nano-paper", student_from="middle", teacher_from="first"),
        ArmConfig(name="a", recipe="nano-baseline"),
        ArmConfig(name="middle", recipe="nano-baseline", student_from="first"),
        ArmConfig(name="first", recipe="nano-baseline"),
    )
    cells = expand(study(arms=arms, seeds=(0, 1)), OUT)
    order = [cell.id for cell in cells]
    assert order.index("last_seed0") > order.index("middle_seed0") > order.index("first_seed0")
    last = cells[order.index("last_seed1")]
    assert last.needs == ("middle_seed1", "first_seed1")
    assert last.recipe.student.weights == str(OUT / "runs" / "middle_seed1")
    assert last.recipe.teacher.weights == str(OUT / "runs" / "first_seed1")
    chosen = select(cells, "last_seed1")
    assert [cell.id for cell in chosen] == ["first_seed1", "middle_seed1", "last_seed1"]
    assert [[cell.id for cell in group] for group in waves(chosen)] == [
        ["first_seed1"],
        ["middle_seed1"],
        ["last_seed1"],
    ]
    assert [len(group) for group in waves(cells)] == [4, 2, 2]


def test_a_teacher_with_one_initialisation_serves_all():
    arms = (
        ArmConfig(name="a", recipe="nano-paper", teacher_from="t"),
        ArmConfig(name="t", recipe="nano-baseline", initialisations=("y",)),
    )
    starts = (InitialisationConfig(name="x"), InitialisationConfig(name="y"))
    cells = expand(study(arms=arms, initialisations=starts), OUT)
    assert {c.id: c.needs for c in cells} == {
        "t_y_seed0": (),
        "a_x_seed0": ("t_y_seed0",),
        "a_y_seed0": ("t_y_seed0",),
    }


def test_a_pattern_that_matches_nothing():
    with pytest.raises(UsageError, match=r"--only 'b\*': none of the 1 cells matches; they are a_seed0"):
        select(expand(study(), OUT), "b*")


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.integers() | st.dictionaries(st.sampled_from("xy"), st.integers())
    )
)
def test_merging_nothing_changes_nothing_and_merging_itself_neither(values):
    assert merged(values, {}) == values == merged(values, values)
    assert merged({}, values) == values
