"""Checkpoints: what is in them comes back, damage is told from soundness, and no code is read."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from taco_kd.errors import DataError
from taco_kd.files import sha256_file
from taco_kd.train import checkpoint
from taco_kd.train.packing import Packer, unpack
from taco_kd.train.state import TrainState, make_ema

numbers = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
tensors = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]).flatmap(
    lambda dtype: st.lists(st.integers(0, 3), max_size=3).map(lambda shape: torch.ones(shape).to(dtype))
)
values = st.recursive(
    numbers | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@given(values)
@settings(deadline=None, max_examples=60)
def test_what_is_packed_comes_back(value):
    import json

    packer = Packer()
    packed = json.loads(json.dumps(packer.pack(value)))
    assert same(unpack(packed, packer.tensors), value)


def test_shared_and_strided_tensors_are_kept_once_and_whole():
    base = torch.arange(12.0).view(3, 4)
    packer = Packer()
    packed = packer.pack([base, base.view(3, 4), base.t(), base[1]])
    assert len(packer.tensors) == 3
    assert all(
        t.is_contiguous() and t.untyped_storage().nbytes() == t.nbytes for t in packer.tensors.values()
    )
    back = unpack(packed, packer.tensors)
    assert torch.equal(back[2], base.t())
    assert torch.equal(back[3], base[1])


def test_what_a_checkpoint_cannot_hold_is_named():
    with pytest.raises(TypeError, match="cannot hold a set"):
        Packer().pack({"a": {1, 2}})
    with pytest.raises(ValueError, match="does not know"):
        unpack({"pickle": "cos\nsystem"}, {})


def make(seed=0, width=5):
    torch.manual_seed(seed)
    student = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Conv1d(width, 2, 1))
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.1, betas=(0.8, 0.9))
    return TrainState(student, None, optimizer, make_ema(student, 0.5))


def go(state, count=1):
    for _ in range(count):
        torch.manual_seed(state.step)
        state.optimizer.zero_grad()
        first, norm, last = state.student
        last(norm(first(torch.randn(4, 3))).unsqueeze(-1)).square().sum().backward()
        state.optimizer.step()
        state.ema.update_parameters(state.student)
        state.step += 1


def whole(state):
    packer = Packer()
    packer.pack([state.student.state_dict(), state.optimizer.state_dict(), state.ema.state_dict()])
    return [*packer.tensors.values()]


@pytest.fixture
def saved(tmp_path):
    """A folder with the checkpoints of steps 2 and 3."""
    state = make()
    for _ in range(3):
        go(state)
        checkpoint.save(tmp_path, state, {"best": [0.5, None], "seconds": 1.5})
    return tmp_path


def files(folder):
    return sorted(folder.iterdir())


def test_a_restored_state_goes_on_as_the_one_that_was_saved(saved):
    undisturbed, other = make(), make(seed=9)
    go(undisturbed, 6)
    assert checkpoint.restore(saved, other) == {"best": [0.5, None], "seconds": 1.5}
    assert other.step == 3
    go(other, 3)
    assert all(map(torch.equal, whole(undisturbed), whole(other)))
    assert other.optimizer.state_dict()["param_groups"] == undisturbed.optimizer.state_dict()["param_groups"]


def test_two_are_kept_and_each_is_named_by_its_bytes(saved):
    assert [f.name[:9] for f in files(saved)] == ["000000002", "000000003"]
    assert all(f.name[10:74] == sha256_file(f) for f in files(saved))


def flipped(at):
    def damage(file):
        data = bytearray(file.read_bytes())
        data[int(at * (len(data) - 1))] ^= 1
        file.write_bytes(data)

    return damage


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch owned",))


def bomb(file):
    content = pickle.dumps(Bomb())
    file.write_bytes(content)
    file.rename(file.with_name(f"{file.name[:9]}-{sha256_file(file)}.safetensors"))


DAMAGES = {
    "cut off": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "a pickle that says it is sound": bomb,
    **{f"a bit at {at}": flipped(at) for at in (0, 0.001, 0.3, 0.7, 1)},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_is_used_and_the_damaged_one_named(saved, damage, capsys, monkeypatch):
    monkeypatch.chdir(saved.parent)
    damage(files(saved)[-1])
    state = make(seed=4)
    checkpoint.restore(saved, state)
    assert state.step == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(saved / "000000003") in line
    assert "going on from the checkpoint before it, of step 2" in line
    assert not (saved.parent / "owned").exists()
    go(state)
    checkpoint.save(saved, state)
    assert [f.name[:9] for f in files(saved)] == ["000000002", "000000003"]
    checkpoint.restore(saved, make())
    assert capsys.readouterr().err == ""


def test_deleted_is_as_if_it_had_not_been_written(saved):
    files(saved)[-1].unlink()
    state = make()
    checkpoint.restore(saved, state)
    assert state.step == 2


def test_when_all_are_damaged_one_line_says_so(saved, capsys):
    for file in files(saved):
        flipped(0.5)(file)
    with pytest.raises(DataError, match=r"000000003-\w+\.safetensors: not a usable checkpoint \(its bytes"):
        checkpoint.restore(saved, make())
    assert capsys.readouterr().err == ""
    assert len(files(saved)) == 2  # nothing is thrown away


def test_of_another_model_it_is_refused_and_stays(saved):
    with pytest.raises(DataError, match=r"is of another model or version \(Error.* in loading state_dict"):
        checkpoint.restore(saved, make(width=6))
    assert len(files(saved)) == 2


def test_every_field_of_the_state_is_saved(tmp_path):
    """So that a field that is added is not forgotten."""
    from dataclasses import dataclass, field

    @dataclass
    class More(TrainState):
        micro_batch: int | None = None
        counts: list[int] = field(default_factory=list)

    def more():
        state = make()
        return More(state.student, None, state.optimizer, state.ema)

    state = more()
    state.micro_batch, state.counts = 4, [1, 2]
    checkpoint.save(tmp_path, state)
    other = more()
    checkpoint.restore(tmp_path, other)
    assert (other.micro_batch, other.counts) == (4, [1, 2])


def test_averages_of_the_optimiser_get_the_layout_of_their_parameters(tmp_path):
    def build():
        torch.manual_seed(0)
        student = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return TrainState(student, None, torch.optim.AdamW(student.parameters(), foreach=True), None)

    state = build()
    state.student(torch.ones(1, 3, 5, 5)).sum().backward()
    state.optimizer.step()
    checkpoint.save(tmp_path, state)
    other = build()
    checkpoint.restore(tmp_path, other)
    kept = other.optimizer.state[other.student.weight]["exp_avg"]
    assert kept.stride() == other.student.weight.stride()
    assert torch.equal(kept, state.optimizer.state[state.student.weight]["exp_avg"])


def test_a_folder_without_one(tmp_path):
    assert not checkpoint.exists(tmp_path / "none")
    with pytest.raises(DataError, match="holds no checkpoint"):
        checkpoint.restore(tmp_path, make())
    checkpoint.remove(tmp_path / "none")
