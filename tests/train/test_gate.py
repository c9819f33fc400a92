"""The teacher gate: asked on held-out images and shared classes, before anything is trained, and once."""

import json
from pathlib import Path

import pytest
import torch

from taco_kd.classes.class_map import ClassMap
from taco_kd.errors import GateError
from taco_kd.evaluate.pairwise import compare_predictions
from taco_kd.evaluate.predict import predict
from taco_kd.models import dinov3, rtdetr
from taco_kd.runs import DataDir
from taco_kd.train import gate, gate_comparison
from taco_kd.train.gate_comparison import Answer, Candidate
from taco_kd.types import DetectorOutput


class Oracle(rtdetr.RTDetr):
    """A detector that knows the images: it answers with the truth, in its own order of the classes."""

    def tell(self, data, shift=0.0):
        self.shift = shift
        from taco_kd.data.dataset import DetectionDataset

        dataset = DetectionDataset(data, "val", self.image_size)
        self.truth = {dataset.image(i).float().sum().item(): dataset.targets[i] for i in range(len(dataset))}
        self.of = [self.class_names.index(name) for name in dataset.class_names]
        return self

    def forward(self, images, targets=None, *, with_features=False):
        logits = torch.full((len(images), 40, len(self.class_names)), -9.0)
        boxes = torch.full((len(images), 40, 4), 0.5)
        for b, image in enumerate(images):
            sum_ = (image * 255).round().sum().item()
            truth = self.truth[min(self.truth, key=lambda known: abs(known - sum_))]
            for q, (box, class_id) in enumerate(zip(truth.boxes_cxcywh, truth.class_ids, strict=True)):
                logits[b, q, self.of[class_id]] = 5 - q / 50 - box[0]  # no ties
                boxes[b, q] = box
                boxes[b, q, 0] += self.shift
        return DetectorOutput(logits, boxes)


def oracle(data, shift=0.0):
    model = rtdetr.build_nano(tuple(reversed(data.class_names)))
    model.__class__ = Oracle
    return model.tell(data, shift)


@pytest.fixture(scope="module")
def data(small_data, tmp_path_factory):
    """A dataset of this module's own, so that kept answers disturb nobody."""
    folder = tmp_path_factory.mktemp("gate") / "data"
    import shutil

    shutil.copytree(small_data.path, folder)
    return DataDir.open(folder)


@pytest.fixture
def fresh(data):
    for file in (data.path / "gates").glob("*"):
        file.unlink()
    return data


@pytest.fixture(scope="module")
def student(data):
    torch.manual_seed(0)
    return rtdetr.build_nano(data.class_names)


def candidate(teacher, student):
    return Candidate(teacher, ClassMap.between(student.class_names, teacher.class_names))


def test_a_better_teacher_passes_whatever_the_order_of_its_classes(fresh, student, capsys):
    student.train()
    (answer,) = gate.ask(student, [candidate(oracle(fresh), student)], fresh)
    assert student.training
    assert answer.outcome == "better"
    assert answer.teacher_ap == pytest.approx(1.0)
    assert answer.difference == pytest.approx(answer.teacher_ap - answer.student_ap)
    assert 0 < answer.low <= answer.difference <= answer.high
    assert answer.images == len(fresh.coco("val")["images"])
    assert answer.classes == 10
    gate.report([answer], strict=True)
    said = capsys.readouterr().err.replace("\n", " ")
    assert "is better than the student as it starts" in said
    assert "warning" not in said


def test_a_worse_teacher_is_told_in_one_line_and_refused_when_strict(fresh, student, capsys):
    (answer,) = gate.ask(oracle(fresh), [candidate(student, oracle(fresh))], fresh)
    assert answer.outcome == "worse"
    gate.report([answer], strict=False)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: teacher gate: rtdetr-nano (AP 0.")
    assert "is worse than the student as it starts (AP 100.0)" in lines[0]
    with pytest.raises(GateError, match="is worse than") as refused:
        gate.report([answer], strict=True)
    assert refused.value.exit_code == 5


def test_a_teacher_like_the_student_is_not_better(fresh, student):
    (answer,) = gate.ask(student, [candidate(student, student)], fresh)
    assert answer.outcome == "not distinguishable"
    assert answer.difference == 0
    with pytest.raises(GateError):
        gate.report([answer], strict=True)


def test_classes_by_index_are_read_as_the_distillation_reads_them(fresh, student):
    teacher = oracle(fresh)
    wrong = Candidate(teacher, ClassMap.by_index(student.class_names, teacher.class_names))
    (answer,) = gate.ask(student, [wrong], fresh)  # its classes are in reverse order
    assert answer.teacher_ap < 0.05


def test_only_shared_classes_are_compared(fresh, student):
    teacher = oracle(fresh)
    kept = ClassMap.between(student.class_names, teacher.class_names)
    some = Candidate(teacher, ClassMap(kept.student[:3], kept.teacher[:3]))
    (answer,) = gate.ask(student, [some], fresh)
    assert answer.classes == 3
    assert answer.teacher_ap == pytest.approx(1.0)  # not 0.3: of the others it says nothing


def test_the_numbers_are_those_of_evaluate(fresh, student):
    teacher = oracle(fresh, shift=0.01)
    (answer,) = gate.ask(student, [candidate(teacher, student)], fresh)
    rows = {"student": predict(student, fresh, "val"), "teacher": predict(teacher, fresh, "val")}
    found = compare_predictions(fresh.coco("val"), rows, resamples=gate_comparison.RESAMPLES)
    assert answer.student_ap == pytest.approx(found.arms[0].metrics.ap, abs=1e-9)
    assert answer.teacher_ap == pytest.approx(found.arms[1].metrics.ap, abs=1e-9)
    assert answer.low == pytest.approx(found.differences[0].interval.low, abs=1e-9)


def test_an_answer_is_kept_until_model_or_data_change(fresh, student, monkeypatch):
    asked = [candidate(oracle(fresh), student)]
    first = gate.ask(student, asked, fresh)
    real = gate.predict
    for module in (gate, gate_comparison):
        monkeypatch.setattr(module, "predict", lambda *_a, **_k: pytest.fail("predicted again"))
    assert gate.ask(student, asked, fresh) == first
    changed = oracle(fresh)
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    calls = []
    for module in (gate, gate_comparison):
        monkeypatch.setattr(module, "predict", lambda *a, **k: calls.append(1) or real(*a, **k))
    gate.ask(student, [candidate(changed, student)], fresh)
    gate.ask(student, asked, fresh, limit=3)
    assert len(calls) == 4
    (kept, *_) = (fresh.path / "gates").iterdir()
    kept.write_text("{broken")
    for file in (fresh.path / "gates").iterdir():
        file.write_text("{broken")
    assert gate.ask(student, asked, fresh) == first


def test_a_limit_takes_the_same_images_every_time(fresh, student):
    (answer,) = gate.ask(student, [candidate(oracle(fresh), student)], fresh, limit=4)
    assert answer.images == 4
    assert gate.held_out(fresh, 4) == gate.held_out(fresh, 4)


def test_a_feature_teacher_cannot_be_asked(fresh, student, capsys):
    vit = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 3}
    teacher = dinov3.rebuild_vit(vit, model_name="dinov3-vit")
    answers = gate.ask(student, [Candidate(teacher, ClassMap([], []))], fresh)
    assert answers[0].outcome == "not asked"
    gate.report(answers, strict=True)
    assert "cannot be asked" in capsys.readouterr().err.replace("\n", " ")


def test_data_without_held_out_boxes_cannot_decide(fresh, student, tmp_path):
    import shutil

    shutil.copytree(fresh.path, tmp_path / "d")
    empty = DataDir.open(tmp_path / "d")
    coco = empty.coco("val")
    Path(empty.annotations_file("val")).write_text(json.dumps({**coco, "annotations": []}))
    (answer,) = gate.ask(student, [candidate(student, student)], empty)
    assert answer.outcome == "not asked"


def test_an_answer_is_plain_json():
    answer = Answer("a", "better", "words", 3, 2, 0.1, 0.2, 0.1, 0.05, 0.2, 0.01)
    from dataclasses import asdict

    assert Answer(**json.loads(json.dumps(asdict(answer)))) == answer
