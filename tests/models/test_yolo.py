"""YOLO11, YOLOv8 and RT-DETR HGNetv2: layouts, sizes, decoding, and what is imported when."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.ops import box_convert

from taco_kd.bench.flops import count
from taco_kd.bench.paper_convention import paper_cost
from taco_kd.errors import DataError
from taco_kd.models import nms, yolo, zoo
from taco_kd.models.ultralytics_quiet import quiet_ultralytics
from taco_kd.models.yolo_network import YoloShape, build_network, class_width
from taco_kd.types import DetectorOutput, Targets, total

NAMES = ("can", "cup", "film", "paper")
CLASSES_60 = [f"class {i}" for i in range(60)]


def nano(names=NAMES, **layout):
    torch.manual_seed(0)
    shape = {"base": "yolo11", "scale": "nano", **layout}
    return yolo.rebuild(shape, names, model_name="yolo11-nano", image_size=96)


def boxes_of(count, class_id=1, side=0.2):
    centres = torch.linspace(0.45, 0.55, count)
    cxcywh = torch.stack([centres, centres, *[torch.full((count,), side)] * 2], dim=1)
    return Targets(cxcywh, torch.full((count,), class_id), 0)


def test_the_loss_does_not_grow_with_the_batch():
    model = nano().eval()
    image = torch.rand(1, 3, 96, 96)
    losses = []
    for images in (4, 8):  # fewer, and Ultralytics' normaliser is at its floor of 1 with such weights
        with torch.no_grad():
            losses.append(model(image.repeat(images, 1, 1, 1), [boxes_of(2, side=0.9)] * images).losses)
    for name, term in losses[0].items():
        assert losses[1][name].item() == pytest.approx(term.item(), rel=1e-4)


def test_training_mode_hands_out_the_boxes_of_evaluation_mode():
    model = nano()
    for module in model.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    images = torch.rand(2, 3, 96, 96)
    model.train()
    for module in model.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        trained, evaluated = model(images), model.eval()(images)
    assert torch.allclose(trained.boxes_cxcywh, evaluated.boxes_cxcywh, atol=1e-5)
    assert torch.equal(trained.logits, evaluated.logits)


def test_backbone_and_head_are_told_apart():
    for base, last in (("yolo11", 10), ("yolov8", 9)):
        model = nano(base=base)
        backbone = {n for n, _ in model.named_parameters() if model.is_backbone(n)}
        rest = {n for n, _ in model.named_parameters()} - backbone
        assert {int(n.split(".")[2]) for n in backbone} <= set(range(last + 1))
        assert min(int(n.split(".")[2]) for n in rest) > last
        assert model.is_backbone("model.0.conv.weight")  # as keys of the network's state dict are called


def test_a_class_branch_of_another_width_is_taken_over():
    coco = nano([f"c{i}" for i in range(80)])  # 80 channels, where 4 classes would give 32
    model = nano()
    assert class_width(coco.network.state_dict()) == 80
    assert class_width(model.network.state_dict()) == 32
    (words,) = model.adapt_to(coco.network.state_dict())
    assert "80 channels" in words
    assert class_width(model.network.state_dict()) == 80
    assert model(torch.rand(1, 3, 96, 96)).logits.shape[-1] == 4
    assert model.adapt_to(coco.network.state_dict()) == []
    assert total(model(torch.rand(2, 3, 96, 96), [boxes_of(1), boxes_of(2)]).losses).isfinite()
    assert model.architecture()["class_width"] == 80


def test_a_fused_network_computes_what_it_was_fused_from():
    model = nano().eval()
    for module in model.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        before = model(images).logits
        fused = nano(fused=True)
        fused.network.load_state_dict(model.network.fuse(verbose=False).state_dict())
        assert torch.allclose(fused.eval()(images).logits, before, atol=1e-4)
    frozen = [n for n, p in fused.network.named_parameters() if not p.requires_grad]
    assert len(frozen) == 1, "only the bins of the box distribution"


def test_an_architecture_that_is_none_of_ours_is_refused():
    with pytest.raises(DataError, match="YOLO architecture 'yolo99'"):
        YoloShape("yolo99", "n")
    with pytest.raises(DataError, match="scale of yolo11 'w'"):
        YoloShape("yolo11", "w")
    with pytest.raises(DataError, match="cannot be 7 channels wide"):
        build_network(YoloShape("yolo11", "nano", class_width=7), 4)


def dense(logits, corners):
    return DetectorOutput(torch.tensor([logits]), box_convert(torch.tensor([corners]), "xyxy", "cxcywh"))


def test_nms_by_hand():
    output = dense(
        [[2.0, -9.0], [1.0, -9.0], [0.0, 3.0], [-9.0, -9.0]],
        [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.52], [0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 1.0, 1.0]],
    )
    (found,) = nms.decode_dense(output, width=100, height=200)
    assert found.class_ids.tolist() == [1, 0, 0]  # the second box overlaps the first, in its class
    assert found.scores.tolist() == pytest.approx(torch.tensor([3.0, 2.0, 0.0]).sigmoid().tolist())
    assert found.boxes_xyxy[1].tolist() == pytest.approx([10, 20, 50, 100])
    (best,) = nms.decode_dense(output, width=100, height=200, top_k=1)
    assert best.class_ids.tolist() == [1]


def test_nms_of_nothing():
    output = dense([[-9.0], [-9.0]], [[0.1, 0.1, 0.5, 0.5]] * 2)
    assert [len(d) for d in nms.decode_dense(output, width=1, height=1)] == [0]
    assert nms.one_per_object(output).logits.shape == (1, 1, 1)


def test_queries_of_a_teacher_are_one_per_object():
    output = dense(
        [[2.0, 1.0], [1.0, 0.0], [-1.0, 3.0]],
        [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.52], [0.5, 0.5, 0.9, 0.9]],
    )
    both = DetectorOutput(
        torch.cat([output.logits, torch.full_like(output.logits, -9)]), output.boxes_cxcywh.repeat(2, 1, 1)
    )
    queries = nms.one_per_object(both)
    assert queries.logits[0].tolist() == [[2.0, 1.0], [-1.0, 3.0]]
    assert torch.equal(queries.boxes_cxcywh[0], output.boxes_cxcywh[0, [0, 2]])
    assert queries.logits[1].max() == nms.NOTHING


def test_nms_is_that_of_ultralytics():
    with quiet_ultralytics():
        from ultralytics.utils.nms import non_max_suppression
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(2, 300, 2, generator=generator) * 0.6 + 0.2
    sizes = torch.rand(2, 300, 2, generator=generator) * 0.2 + 0.1
    output = DetectorOutput(
        torch.randn(2, 300, 3, generator=generator) * 3 - 4, torch.cat([centres, sizes], -1)
    )
    raw = torch.cat([output.boxes_cxcywh * 640, output.logits.sigmoid()], -1).transpose(1, 2)
    theirs = non_max_suppression(raw.clone(), nms.MIN_SCORE, nms.IOU, multi_label=True, max_det=50)
    ours = nms.decode_dense(output, width=640, height=640, top_k=50)
    for own, their in zip(ours, theirs, strict=True):
        assert len(own) == len(their) == 50
        assert torch.allclose(own.scores, their[:, 4])
        assert torch.allclose(own.boxes_xyxy, their[:, :4], atol=1e-3)
        assert own.class_ids.tolist() == their[:, 5].tolist()


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("yolo11n", 80, 2_624_080),  # as Ultralytics publishes them
        ("yolo11s", 80, 9_458_752),
        ("yolov8n", 80, 3_157_200),
        ("yolov8s", 80, 11_166_560),
        ("rtdetr-hgnetv2-l", 60, 32_929_376),
    ],
)
def test_golden_sizes(name, classes, parameters):
    model = zoo.find(name).build([f"class {i}" for i in range(classes)])
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert zoo.find(name).licence == "AGPL-3.0"


def test_the_papers_figures_of_yolo11_l():
    model = zoo.find("yolo11l").build(CLASSES_60)
    assert sum(p.numel() for p in model.parameters()) == 25_356_740
    paper = paper_cost(model, 160)  # everything but the side is as at 640 px
    assert round(paper.parameters_m, 4) == 25.3567
    assert round(paper.gflops * 16, 2) == 87.53


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters_m", "paper_gflops", "gflops"),
    [("yolo11l", 25.3567, 87.527, 87.070), ("rtdetr-hgnetv2-l", 30.9947, 108.255, 109.447)],
)
def test_golden_figures_at_full_size(name, parameters_m, paper_gflops, gflops):
    model = zoo.find(name).build(CLASSES_60)
    paper = paper_cost(model, 640)
    assert round(paper.parameters_m, 4) == parameters_m
    assert paper.gflops == pytest.approx(paper_gflops, abs=1e-3)
    assert count(model, 640).gflops == pytest.approx(gflops, abs=1e-3)


PROGRAM = """
import sys
from taco_kd.models import zoo
from taco_kd.cli.app import app
zoo.make("rtdetr-nano", ("a", "b"), weights="random")
assert not [m for m in sys.modules if m.split(".")[0] == "ultralytics"], "imported unasked"
zoo.make("yolo11-nano", ("a", "b"), weights="random")
assert "ultralytics" in sys.modules
import torch
from PIL import Image
assert Image.open.__module__ == "PIL.Image" and torch.save.__module__ == "torch.serialization"
"""


def test_ultralytics_is_imported_when_asked_for_and_says_nothing(tmp_path):
    root = str(Path(__file__).parents[2])
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
