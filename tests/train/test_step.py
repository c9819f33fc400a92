"""One step: micro-batches, precision, what is skipped, what happens without memory."""

import json
import math

import pytest
import torch

from taco_kd.config import StudentConfig, TrainConfig
from taco_kd.data.batches import Batches
from taco_kd.data.dataset import DetectionDataset
from taco_kd.errors import TacoKDError
from taco_kd.models import zoo
from taco_kd.models.settings import initial_student
from taco_kd.train.gradients import Gradients
from taco_kd.train.loop import steps
from taco_kd.train.optim import build_optimizer
from taco_kd.train.processes import Processes
from taco_kd.train.seeding import seed_step
from taco_kd.train.state import TrainState, make_ema
from taco_kd.train.step import Stepper

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(small_data):
    return DetectionDataset(small_data, "train", 192)


def config(**values):
    return TrainConfig(**{"batch_size": 4, "freeze_batch_norm": True, "horizontal_flip": 0.0, **values})


def build(dataset, family="rtdetr"):
    """A trained detector without noise of its own (no denoising queries), or a random YOLO."""
    torch.manual_seed(0)
    if family == "yolo":
        return zoo.find("yolo11-nano").build(dataset.class_names)
    name = "conditional-detr-nano" if family == "conditional" else "rtdetr-nano"
    model, _ = initial_student(StudentConfig(model=name), dataset.class_names, seed=0)
    if family == "rtdetr":
        model.network.config.num_denoising = 0
    return model


class Keeper(torch.optim.SGD):
    """An optimiser that changes nothing and keeps the gradients it was given."""

    def step(self):
        self.kept = [p.grad if p.grad is None else p.grad.clone() for p in self.param_groups[0]["params"]]


def gradients(model, dataset, settings, batch=None):
    """Of one step, by name; what it found; and the state after it."""
    state = TrainState(model, None, Keeper(model.parameters()), None)
    state.micro_batch = settings.micro_batch
    batch = batch or Batches(dataset, settings, 9).batch(0)
    done = Stepper(Gradients(state, settings, Processes(CPU), steps_total=9))(batch)
    names = [name for name, _ in model.named_parameters()]
    kept = zip(names, state.optimizer.kept, strict=True)
    return {name: gradient for name, gradient in kept if gradient is not None}, done, state


def distance(a, b):
    whole = math.sqrt(sum(float(v.double().square().sum()) for v in a.values()))
    return math.sqrt(sum(float((a[k].double() - b[k].double()).square().sum()) for k in a)) / whole


@pytest.mark.parametrize("family", ["rtdetr", "conditional"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(dataset, family):
    """Images with many boxes and with few weigh what they weigh in the whole batch."""
    whole, done, _ = gradients(build(dataset, family), dataset, config(clip_norm=1e9))
    for size in (1, 2, 3):
        parts, again, _ = gradients(build(dataset, family), dataset, config(clip_norm=1e9, micro_batch=size))
        assert distance(whole, parts) < 1e-4
        assert again.loss == pytest.approx(done.loss, rel=1e-4)
        assert again.terms == pytest.approx(done.terms, rel=1e-3)


def test_parts_without_any_object_count_as_in_the_whole_batch(dataset):
    batch = Batches(dataset, config(), 9).batch(0)
    none = batch.targets[0].__class__(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1)
    batch.targets[0] = batch.targets[2] = none
    settings = config(clip_norm=1e9)
    whole, _, _ = gradients(build(dataset), dataset, settings, batch)
    one = config(clip_norm=1e9, micro_batch=1)
    parts, _, _ = gradients(build(dataset), dataset, one, batch)
    assert distance(whole, parts) < 1e-4


def fails_over(model, limit, monkeypatch):
    """Let the model run out of memory with more than ``limit`` images."""
    forward = model.forward

    def limited(images, *values, **options):
        if len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(images, *values, **options)

    monkeypatch.setattr(model, "forward", limited)
    return model


def test_without_memory_the_micro_batch_is_halved_and_the_gradient_stays(dataset, monkeypatch, capfd):
    expected, _, _ = gradients(build(dataset), dataset, config(clip_norm=1e9, micro_batch=1))
    model = fails_over(build(dataset), 1, monkeypatch)
    found, done, state = gradients(model, dataset, config(clip_norm=1e9))
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert done.finite
    assert state.micro_batch == 1
    said = capfd.readouterr().err
    assert "2 images at a time from now on" in said
    assert "1 images at a time from now on" in said


def test_statistics_are_those_of_the_step_that_was_done(dataset, monkeypatch):
    """A forward pass that ran out of memory half way leaves no trace in the batch norms."""
    settings = config(freeze_batch_norm=False, micro_batch=2)
    undisturbed, _, state = gradients(build(dataset), dataset, settings)
    model = build(dataset)
    calls = []
    forward = model.forward

    def once(images, *values, **options):
        output = forward(images, *values, **options)
        calls.append(len(images))
        if calls == [4]:
            raise MemoryError
        return output

    monkeypatch.setattr(model, "forward", once)
    found, _, disturbed = gradients(model, dataset, config(freeze_batch_norm=False))
    assert calls == [4, 2, 2]
    assert all(torch.equal(found[name], undisturbed[name]) for name in found)
    own = dict(state.student.named_buffers())
    assert all(torch.equal(b, own[name]) for name, b in disturbed.student.named_buffers())


def test_one_image_that_does_not_fit_ends_the_run(dataset, monkeypatch):
    model = fails_over(build(dataset), 0, monkeypatch)
    with pytest.raises(TacoKDError, match="step 1: out of memory with a single image at a time"):
        gradients(model, dataset, config())


def test_another_error_is_not_taken_for_lack_of_memory(dataset, monkeypatch):
    model = build(dataset)
    monkeypatch.setattr(model, "forward", lambda *_, **__: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        gradients(model, dataset, config())


def poisoned(model, calls, monkeypatch):
    """Losses of these calls of the model (from 0) are not a number."""
    forward, count = model.forward, iter(range(1000))

    def poison(images, *values, **options):
        output = forward(images, *values, **options)
        if next(count) in calls:
            output.losses = {name: term * float("nan") for name, term in output.losses.items()}
        return output

    monkeypatch.setattr(model, "forward", poison)
    return model


def run(model, dataset, settings, total=4, **options):
    state = TrainState(
        model, None, build_optimizer(model, None, settings), make_ema(model, settings.ema_decay)
    )
    return state, steps(state, dataset, settings, steps_total=total, device=CPU, **options)


def test_a_step_that_is_not_finite_changes_nothing(dataset, monkeypatch):
    settings = config(ema_decay=0.9, freeze_batch_norm=False, batch_size=2)
    model = poisoned(build(dataset), {1}, monkeypatch)
    state, work = run(model, dataset, settings)
    next(work)
    kept = {k: v.clone() for k, v in {**model.state_dict(), **state.ema.state_dict(prefix="ema.")}.items()}
    moments = [s["exp_avg"].clone() for s in state.optimizer.state.values()]
    record = next(work)
    assert record.skipped
    assert record.loss is None
    assert record.grad_norm == 0
    now = {**model.state_dict(), **state.ema.state_dict(prefix="ema.")}
    assert all(torch.equal(kept[k], now[k]) for k in kept)
    assert all(
        torch.equal(a, s["exp_avg"]) for a, s in zip(moments, state.optimizer.state.values(), strict=True)
    )
    third = next(work)
    assert not third.skipped
    assert third.loss is not None
    assert (state.step, state.skipped, state.skipped_in_a_row) == (3, 1, 0)


def test_too_many_in_a_row_end_the_run_and_keep_the_batch(dataset, monkeypatch, tmp_path):
    settings = config(max_skipped=1, batch_size=2)
    _, work = run(poisoned(build(dataset), {0, 2, 3}, monkeypatch), dataset, settings, trouble=tmp_path)
    assert [next(work).skipped for _ in range(3)] == [True, False, True]
    with pytest.raises(TacoKDError, match=r"at step 4 .*vfl nan.* in 2 steps in a row; the batch is in"):
        next(work)
    kept = json.loads((tmp_path / "step-4" / "batch.json").read_text())
    assert kept["terms"]["vfl"] == "nan"
    assert [image["file"] for image in kept["images"]] == ["0.png", "1.png"]
    batch = Batches(dataset, settings, 4).batch(3)
    assert [i["image_id"] for i in kept["images"]] == [t.image_id for t in batch.targets]
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    with Image.open(tmp_path / "step-4" / "1.png") as image:
        assert torch.equal(pil_to_tensor(image), batch.images[1])


@pytest.mark.parametrize("family", ["rtdetr", "conditional", "yolo"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains_float32_weights(dataset, family, precision):
    settings = config(precision=precision, batch_size=2)
    state, work = run(build(dataset, family), dataset, settings, total=2)
    if precision == "fp16":
        state.scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    before = {k: v.clone() for k, v in state.student.named_parameters()}
    records = list(work)
    _, exact_work = run(build(dataset, family), dataset, config(batch_size=2), total=1)
    assert records[0].loss == pytest.approx(next(exact_work).loss, rel=0.1)
    assert not any(record.skipped for record in records)
    assert {p.dtype for p in state.student.parameters()} == {torch.float32}
    assert any(not torch.equal(before[k], v) for k, v in state.student.named_parameters())


def test_an_overflow_in_fp16_scales_the_loss_down_and_updates_nothing(dataset):
    settings = config(precision="fp16", batch_size=2)
    state, work = run(build(dataset), dataset, settings, total=2)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=1e30)
    before = {k: v.clone() for k, v in state.student.named_parameters()}
    record = next(work)
    assert record.skipped
    assert state.skipped_in_a_row == 0  # which is no sign of a sick run
    assert state.scaler.get_scale() == pytest.approx(5e29)
    assert all(torch.equal(before[k], v) for k, v in state.student.named_parameters())


def test_channels_last_is_the_same_training(dataset):
    plain, done, _ = gradients(build(dataset), dataset, config(clip_norm=1e9))
    model = build(dataset).to(memory_format=torch.channels_last)
    other, again, _ = gradients(model, dataset, config(clip_norm=1e9, channels_last=True))
    assert distance(plain, other) < 1e-3
    assert again.loss == pytest.approx(done.loss, rel=1e-4)


def test_what_a_step_draws_depends_on_seed_step_and_process_alone():
    def drawn(*where):
        seed_step(*where)
        return torch.rand(3).tolist()

    assert drawn(1, 2, 0) == drawn(1, 2, 0)
    assert len({tuple(drawn(*w)) for w in [(1, 2, 0), (2, 2, 0), (1, 3, 0), (1, 2, 1)]}) == 4


def test_the_log_says_where_the_time_goes(dataset):
    _, work = run(build(dataset), dataset, config(batch_size=4, micro_batch=3), total=1)
    record = next(work)
    assert 0 <= record.data_wait_s < record.step_s
    assert record.images_per_s == pytest.approx(4 / record.step_s)
    assert record.memory_mb > 50
    json.dumps(record.__dict__, allow_nan=False)
