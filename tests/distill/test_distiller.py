"""The one weighted sum: Eq. 1 for each teacher, frozen teachers, projections that are trained."""

import pytest
import torch

from taco_kd.config import DistillConfig, LessonConfig, TeacherConfig
from taco_kd.distill.distiller import Distiller, trained_parameters
from taco_kd.errors import UsageError
from taco_kd.models import conditional_detr, dinov3, rtdetr, zoo
from taco_kd.types import Targets, total

NAMES = ("can", "cup", "film")
SOFT = {"classes": "sigmoid-bce", "boxes": "l1-giou", "min_teacher_score": 0.0}
CONFIGS = {
    "paper": DistillConfig(),
    "as released": DistillConfig(maps="encoder", kl_reduction="images"),
    "hungarian": DistillConfig(features="off", pairing="hungarian", **SOFT),
    "every layer": DistillConfig(features="cwd", pairing="pseudo-gt", layers="all", **SOFT),
    "injected": DistillConfig(features="pkd", pairing="injected", **{**SOFT, "classes": "sigmoid-qfl"}),
    "attention": DistillConfig(features="mgd", classes="off", boxes="off", attention="kl"),
}


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    return rtdetr.build_nano(NAMES), conditional_detr.build_nano(NAMES[::-1])


def targets(count):
    return [Targets(torch.tensor([[0.5, 0.5, 0.2, 0.3]]), torch.tensor([1]), i) for i in range(count)]


def lesson(config, weight=1.0):
    return LessonConfig(teacher=TeacherConfig(), distill=config, weight=weight)


def make(student, *lessons):
    """A distiller of (config, teacher) pairs."""
    return Distiller([lesson(c) for c, _ in lessons], student, [teacher for _, teacher in lessons])


def terms_of(distiller, output, taught, *, step=0, steps_total=1, measure=False):
    """As a step of training has it: the comparison, norms where they are wanted, the weights."""
    compared = distiller.compare(output, taught)
    norms = None
    if measure or distiller.weighting.wants_norms(step):
        norms = distiller.norms(compared, output)
        distiller.weighting.observe(norms)
    return distiller.weigh(compared, step=step, steps_total=steps_total, norms=norms)


def one_step(student, distiller, images, **options):
    student.train().zero_grad(set_to_none=True)
    taught = distiller.teach(images, targets(len(images)), seed=3)
    output = student(images, targets(len(images)), **distiller.asks(taught))
    return output, terms_of(distiller, output, taught, **options)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_terms_gradients_and_weights(pair, config):
    student, teacher = pair
    distiller = make(student, (config, teacher.train()))
    output, terms = one_step(student, distiller, torch.rand(2, 3, 192, 192))
    assert terms.raw.keys() == {f"kd_{term}" for term in config.terms()}
    for term in config.terms():
        raw, weighted = terms.raw[f"kd_{term}"], terms.weighted[f"kd_{term}"]
        assert raw.item() > 0
        assert terms.weights[f"kd_{term}"] == config.weight_of(term)
        assert weighted.item() == pytest.approx(config.weight_of(term) * raw.item())
    total({**output.losses, **terms.weighted}).backward()
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained_parameters(distiller))
    backbone = student.network.model.backbone
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_one_forward_of_each_and_never_two(pair, config):
    student, teacher = pair
    distiller = make(student, (config, teacher))
    counts = {"student": 0, "its backbone": 0, "teacher": 0, "its backbone too": 0}
    watched = {
        "student": student.network,
        "its backbone": student.network.model.backbone,
        "teacher": teacher.network,
        "its backbone too": teacher.network.model.backbone,
    }

    def counting(name):
        def count(*_):
            counts[name] += 1

        return count

    handles = [module.register_forward_hook(counting(name)) for name, module in watched.items()]
    try:
        one_step(student, distiller, torch.rand(2, 3, 192, 192), measure=True)
    finally:
        for handle in handles:
            handle.remove()
    assert set(counts.values()) == {1}, counts


def test_the_terms_of_every_layer_are_averaged(pair):
    student, teacher = pair
    last = DistillConfig(features="off", pairing="hungarian", **SOFT)
    every = last.model_copy(update={"layers": "all"})
    images = torch.rand(2, 3, 192, 192)
    distiller = make(student, (last, teacher), (every, teacher))
    output, terms = one_step(student, distiller, images)
    assert len(output.layers) == 2
    by_layer = []
    for layer in output.layers:
        copy = type(output)(layer.logits, layer.boxes_cxcywh)
        answer = distiller.each()[0](copy, distiller.teach(images, targets(2))[0])
        by_layer.append(answer.terms["boxes"])
    by_layer.append(terms.raw["kd_boxes"])
    assert terms.raw["kd2_boxes"].item() == pytest.approx(torch.stack(by_layer).mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["paper", "soft"])
def test_terms_over_pairs_of_two_halves_are_those_of_the_whole(pair, kind):
    """Whatever the terms are divided by, pairs or their scores, it is told with them, for each layer."""
    student, teacher = pair
    soft = DistillConfig(features="off", pairing="hungarian", layers="all", **SOFT)
    paper = DistillConfig(features="off", boxes="l1", classes="softmax-kl", min_teacher_score=0.0)
    distiller = make(student, (soft if kind == "soft" else paper, teacher))
    student.eval()  # no denoising, no statistics: halves are halves
    images, wanted = torch.rand(3, 3, 192, 192), targets(3)

    def compared(part):
        said = distiller.teach(images[part], wanted[part])
        with torch.no_grad():
            output = student(images[part], wanted[part], **distiller.asks(said))
        return distiller.compare(output, said)

    whole, halves = compared(slice(0, 3)), [compared(slice(0, 1)), compared(slice(1, 3))]
    for name, term in whole.by_layer.items():
        divisors = torch.stack([half.by_layer[name].divisors for half in halves])
        torch.testing.assert_close(divisors.sum(0), term.divisors)
        parts = [half.counted({name: d / divisors.sum(0)}) for half, d in zip(halves, divisors, strict=True)]
        together = sum(part.raw[name].item() for part in parts)
        assert together == pytest.approx(whole.raw[name].item(), rel=1e-4)
    assert whole.pairs == sum(half.pairs for half in halves)


def test_the_denoising_queries_are_not_distilled(pair):
    student, _ = pair
    student.train()
    output = student(torch.rand(2, 3, 192, 192), targets(2))
    assert output.logits.shape == (2, student.network.config.num_queries, len(NAMES))


def test_teacher_is_fed_at_its_own_size(pair):
    student, teacher = pair
    first = make(student, (DistillConfig(), teacher)).each()[0]
    output = first.teacher_output(torch.rand(1, 3, 96, 96))
    assert output.features[-1].tensor.shape[-1] == 192 // 16


def test_teacher_does_not_travel_with_the_student(pair):
    student, teacher = pair
    distiller = make(student, (DistillConfig(features="off"), teacher))
    assert list(distiller.parameters()) == []
    assert not [name for name in distiller.state_dict() if "weighting" not in name]
    distiller.train()
    assert not distiller.each()[0].teacher.training


def test_several_teachers_have_their_own_weights_classes_and_losses(pair):
    student, teacher = pair
    torch.manual_seed(4)
    other = conditional_detr.build_nano(("lid", "cup"))
    vit = dinov3.rebuild_vit(VIT, model_name="dinov3-vit")
    boxes = DistillConfig(features="off", pairing="hungarian", **{**SOFT, "classes": "off"})
    features = DistillConfig(features="cosine", classes="off", boxes="off")
    lessons = [lesson(DistillConfig()), lesson(boxes, 0.5), lesson(features, 3.0)]
    distiller = Distiller(lessons, student, [teacher, other, vit])
    output, terms = one_step(student, distiller, torch.rand(2, 3, 192, 192))
    assert list(terms.raw) == ["kd_features", "kd_classes", "kd_boxes", "kd2_boxes", "kd3_features"]
    assert terms.weights["kd2_boxes"] == 0.5 * boxes.box_weight
    assert terms.weights["kd3_features"] == 3.0
    assert [len(each.classes.student) for each in distiller.each()] == [3, 1, 0]
    total({**output.losses, **terms.weighted}).backward()
    assert all(p.grad is None for t in (teacher, other, vit) for p in t.parameters())


def test_gradient_shares_are_measured_when_asked_and_sum_to_one(pair):
    student, teacher = pair
    distiller = make(student, (DistillConfig(), teacher))
    images = torch.rand(2, 3, 192, 192)
    output, terms = one_step(student, distiller, images)
    assert terms.gradient_shares is None
    output, terms = one_step(student, distiller, images, measure=True)
    shares = terms.gradient_shares
    assert shares.keys() == {"detection", "kd_features", "kd_classes", "kd_boxes"}
    assert sum(shares.values()) == pytest.approx(1)
    maps = [each.tensor for each in output.features]
    norms = {}
    for name, term in {**terms.weighted, "detection": total(output.losses)}.items():
        found = torch.autograd.grad(term, maps, retain_graph=True, allow_unused=True)
        norms[name] = sum(g.square().sum() for g in found if g is not None).sqrt().item()
    for name, share in shares.items():
        assert share == pytest.approx(norms[name] / sum(norms.values()), rel=1e-3)


def test_calibrated_terms_get_the_shares_that_were_asked_for(pair):
    torch.manual_seed(2)
    student, teacher = rtdetr.build_nano(NAMES), pair[1]
    for head in student.network.model.decoder.bbox_embed:  # which begin as zero, and pass no gradient on
        torch.nn.init.normal_(head.layers[-1].weight, std=0.02)
    config = DistillConfig(
        features="pkd",
        pairing="hungarian",
        weighting="calibrated",
        calibration_steps=1,
        max_weight=1e9,
        **SOFT,
    )
    distiller = make(student, (config, teacher))
    _, terms = one_step(student, distiller, torch.rand(2, 3, 192, 192))
    shares = terms.gradient_shares
    assert shares["kd_features"] == pytest.approx(config.feature_share, rel=1e-3)
    assert shares["kd_classes"] == pytest.approx(config.class_share, rel=1e-3)
    assert shares["kd_boxes"] == pytest.approx(config.box_share, rel=1e-3)
    _, later = one_step(student, distiller, torch.rand(2, 3, 192, 192), step=11, steps_total=99)
    assert later.weights == terms.weights, "its first steps are over"
    assert later.gradient_shares is None


def test_the_injected_group_does_not_touch_the_denoising_of_the_student(pair):
    student, teacher = pair
    injected = make(student, (CONFIGS["injected"], teacher))
    without = make(student, (CONFIGS["hungarian"], teacher))
    images = torch.rand(2, 3, 192, 192)
    losses = []
    for distiller in (injected, without):
        torch.manual_seed(11)
        output, _ = one_step(student, distiller, images)
        losses.append(torch.stack([term.detach() for term in output.losses.values()]))
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)


def test_injected_noise_follows_its_seed(pair):
    student, teacher = pair
    distiller = make(student, (CONFIGS["injected"], teacher))
    images = torch.rand(2, 3, 192, 192)
    one, again, other = (distiller.teach(images, targets(2), seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(one.queries.boxes_cxcywh, again.queries.boxes_cxcywh)
    assert not torch.equal(one.queries.boxes_cxcywh, other.queries.boxes_cxcywh)


VIT = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
CONVNEXT = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
FEATURES = DistillConfig(classes="off", boxes="off")


@pytest.mark.parametrize(
    "teacher",
    [
        dinov3.rebuild_vit({**VIT, "num_register_tokens": 4}, model_name="dinov3-vit"),
        dinov3.rebuild_convnext(CONVNEXT, model_name="dinov3-convnext"),
    ],
    ids=["vit", "convnext"],
)
def test_a_feature_teacher_teaches_the_backbone_and_nothing_else(pair, teacher):
    student, _ = pair
    distiller = make(student, (FEATURES, teacher))
    assert distiller.features_only
    _, terms = one_step(student, distiller, torch.rand(2, 3, 96, 96))
    assert terms.raw.keys() == {"kd_features"}
    terms.weighted["kd_features"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained_parameters(distiller))
    named = {n for n, p in student.named_parameters() if p.grad is not None}
    assert named
    assert all(student.is_backbone(name) for name in named)


def test_the_backbone_alone_gives_the_same_maps_as_the_whole_student(pair):
    student, _ = pair
    student.eval()
    images = torch.rand(2, 3, 192, 192)
    whole, alone = student(images, with_features=True), student.backbone_output(images)
    assert alone.logits.shape == (2, 0, len(NAMES))
    for own, other in zip(whole.features, alone.features, strict=True):
        assert torch.equal(own.tensor, other.tensor)
        assert (own.name, own.stride) == (other.name, other.stride)


@pytest.mark.parametrize(
    "config",
    [DistillConfig(), DistillConfig(boxes="off"), DistillConfig(classes="off", boxes="off", attention="kl")],
)
def test_a_feature_teacher_asked_for_more_is_refused(pair, config):
    teacher = dinov3.rebuild_vit(VIT, model_name="dinov3-vit")
    with pytest.raises(UsageError, match=r"dinov3-vit teaches features only: set distill\.classes=off"):
        make(pair[0], (config, teacher))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DistillConfig(features="off", classes="off", boxes="off"), "distillation without a term"),
        (DistillConfig(classes="off", boxes="off", maps="encoder"), "hands out no encoder maps"),
        (DistillConfig(classes="off", boxes="off", attention="kl"), "has no encoder self-attention"),
        (DistillConfig(pairing="injected"), "takes no queries beside its own"),
        (DistillConfig(pairing="assigned"), "the loss of yolo11-nano assigns several places"),
        (DistillConfig(), "a query of yolo11-nano is a place"),
    ],
)
def test_what_a_student_has_not_is_refused_with_the_way_out(pair, config, message):
    student = zoo.find("yolo11-nano").build(NAMES)
    with pytest.raises(UsageError, match=message):
        make(student, (config, pair[1]))


def test_assigned_pairing_is_told_the_truth(pair):
    student, teacher = pair
    config = DistillConfig(features="off", pairing="assigned", layers="all", **SOFT)
    distiller = make(student, (config, teacher))
    images = torch.rand(2, 3, 192, 192)
    with torch.no_grad():
        seen = teacher.eval()(images)
    best = NAMES.index(NAMES[::-1][int(seen.logits[0, 0].argmax())])
    known = Targets(seen.boxes_cxcywh[0, :1], torch.tensor([best]), 0)
    truth = [known, Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 1)]
    taught = distiller.teach(images, truth, seed=3)
    output = student.train()(images, truth, **distiller.asks(taught))
    terms = terms_of(distiller, output, taught)
    assert terms.pairs == 1
    assert terms.raw["kd_classes"].item() > 0
    assert terms.raw["kd_boxes"].item() > 0


def test_injected_queries_of_two_teachers_are_refused(pair):
    student, teacher = pair
    with pytest.raises(UsageError, match="can be asked of one teacher only"):
        make(student, (CONFIGS["injected"], teacher), (CONFIGS["injected"], teacher))


def test_shares_that_leave_nothing_to_the_labels_are_refused(pair):
    student, teacher = pair
    greedy = DistillConfig(weighting="calibrated", feature_share=0.3, class_share=0.2, box_share=0.1)
    with pytest.raises(UsageError, match=r"sum to 1\.2; they must leave something of 1"):
        make(student, (greedy, teacher), (greedy, teacher))
