"""How values are written on the page: numbers, facts of a run, caveats."""

from __future__ import annotations

from collections.abc import Sequence

from taco_kd.evaluate.chosen import chosen_on, words
from taco_kd.report.collect import Arm, Json
from taco_kd.report.latency import doubts
from taco_kd.report.tables import FEW_BOXES

NONE = "–"

TERM_NAMES = {
    "loss": "Total",
    "vfl": "Classes (varifocal)",
    "focal": "Classes (focal)",
    "ce": "Classes",
    "bbox": "Boxes (L1)",
    "giou": "Boxes (GIoU)",
    "kd_features": "Distillation: features",
    "kd_classes": "Distillation: classes",
    "kd_boxes": "Distillation: boxes",
}


def points(value: float | None) -> str:
    """A fraction as AP points.

    >>> points(0.2712), points(None)
    ('27.1', '–')
    """
    return NONE if value is None else f"{100 * value:.1f}"


def ms(value: float | None) -> str:
    """Milliseconds to three digits.

    >>> ms(3.14159), ms(58.5), ms(1312.4)
    ('3.14', '58.5', '1,312')
    """
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def count(value: float | None) -> str:
    """A number of parameters.

    >>> count(2_412_345), count(812), count(None)
    ('2.41 M', '812', '–')
    """
    if value is None:
        return NONE
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    return NONE if value is None else f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def signed(value: float) -> str:
    """A difference in points, with its sign.

    >>> signed(1.84), signed(-0.3), signed(-0.01)
    ('+1.8', '−0.3', '0.0')
    """
    rounded = f"{value:+.1f}"
    return "0.0" if float(rounded) == 0 else rounded.replace("-", "−")


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.0f} %"


def duration(seconds: float | None) -> str:
    """
    >>> duration(75), duration(7260)
    ('1 min 15 s', '2 h 1 min')
    """
    if seconds is None:
        return NONE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


FILTERS = {
    "points": points,
    "ms": ms,
    "count": count,
    "decimal": decimal,
    "signed": signed,
    "p_value": p_value,
    "percent": percent,
}


def facts(arm: Arm) -> list[tuple[str, str]]:
    """What a reader should know of a run before its figures."""
    student = arm.recipe.get("student") or {}
    train = arm.recipe.get("train") or {}
    steps, batch = arm.record.get("steps"), train.get("batch_size")
    looked = arm.record.get("evaluations") or {}
    size = (arm.record.get("data") or {}).get("image_size")
    init = arm.record.get("init_hash")
    known = {
        "Student": student.get("model"),
        "Teacher": arm.teacher or "none",
        "Engine": arm.record.get("engine"),
        "Training": f"{steps:,} steps of {batch or '?'} images" if steps is not None else None,
        "Ended early": f"after {steps:,} steps" if arm.record.get("stopped_early") and steps else None,
        "Weights of": _delivered(arm.record),
        "Chosen on": {
            "val": "val, the split it is reported on",
            "hold-out": f"{looked.get('images', '?')} training images put aside",
        }.get(str(arm.record.get("chosen_on"))),
        "Prepared images": f"{size} px" if size else None,
        "Learning rate": f"{train['lr']:g}" if train.get("lr") is not None else None,
        "Seed": train.get("seed"),
        "Initial weights": str(init)[:12] if init else "not recorded",
        "Time": duration(arm.record["seconds"]) if arm.record.get("seconds") is not None else None,
    }
    return [(key, str(value)) for key, value in known.items() if value is not None]


def _delivered(record: Json) -> str | None:
    """Which step's weights a run delivers, where that is not its last one."""
    step = record.get("delivered_step")
    return None if step is None or step == record.get("steps") else f"step {step:,}, the best"


def validation(metrics: Json) -> str:
    """What the metrics were measured on."""
    if metrics.get("images") is None:
        return "no recorded images"
    return f"{metrics['images']:,} validation images, {metrics.get('boxes') or 0:,} boxes"


def caveats(arms: Sequence[Arm], metrics: Json, comparison: Json | None) -> list[str]:
    """What the figures do not say, the confounders of the comparison first."""
    lines = list((comparison or {}).get("confounders") or [])
    if comparison is not None:
        if not lines:
            lines.append("The records show no other difference between the runs than the treatment itself.")
        lines += [f"{note}." for note in comparison.get("notes") or []]
        if comparison.get("groups"):
            lines.append(
                f"Images were resampled in {comparison['groups']:,} whole groups "
                f"({comparison.get('group_by')}), not one by one."
            )
        lines.append(str(comparison.get("caveat") or ""))
    elif len(arms) > 1:
        lines.append("These runs were not compared: no interval tells a difference from chance.")
    seen = [f"{words(arm.name, 'val')}." for arm in arms if chosen_on(arm.record, "val")]
    lines += [line for line in seen if line.rstrip(".") not in {known.rstrip(".") for known in lines}]
    if len({arm.content_hash for arm in arms}) > 1:
        lines.append("The runs used different datasets: their figures do not belong in one table.")
    rare = sum(0 < (c.get("boxes") or 0) < FEW_BOXES for c in metrics.get("per_class") or [])
    if rare:
        classes = "class has" if rare == 1 else "classes have"
        lines.append(f"{rare} {classes} fewer than {FEW_BOXES} boxes and weigh in AP as much as the others.")
    if metrics.get("area_space"):
        lines.append(
            f"Small, medium and large are COCO's areas, measured in {metrics['area_space']}; in other pixels "
            "the same objects fall into other groups."
        )
    if any(arm.bench for arm in arms):
        lines.append("Latency holds for the named device and setting only.")
        lines += doubts(arms)
    return [line for line in lines if line]
