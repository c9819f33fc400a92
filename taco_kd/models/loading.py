"""Weights into a model, key by key, with a report of every key: nothing arrives or stays away unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from taco_kd.classes.spaces import partners
from taco_kd.errors import MissingResourceError
from taco_kd.models.detector import Detector
from taco_kd.models.load_report import MIN_MATCHED, LoadReport
from taco_kd.models.naming import change_prefix, prefix_hint, translate
from taco_kd.models.stored import Stored


@torch.no_grad()
def load_into(
    model: Detector,
    stored: Stored,
    *,
    source_classes: Sequence[str] | None = None,
    strip_prefix: str = "",
    add_prefix: str = "",
    allow_partial: bool = False,
) -> LoadReport:
    """Copy weights into the model; layers with one row per class are copied row by row, by class name.

    Args:
        source_classes: names of the places of the source's head, where it does not name them itself.
        strip_prefix, add_prefix: taken off the source's keys, put before them.

    Raises:
        MissingResourceError: less than 90 % of the model's values were filled (class layers apart), unless
            ``allow_partial``: training from weights that never arrived is how a comparison goes wrong unseen.
    """
    state, report = _named(model, stored, strip_prefix, add_prefix)
    report.remarks += model.adapt_to(state)
    classes = stored.classes if stored.classes is not None else source_classes
    rows = partners(model.class_names, classes or ())
    filled = values = 0
    heads_without_names = 0
    own = model.network.state_dict()
    for key in filter(_is_auxiliary, own):  # batches seen: of no weight, but part of what was saved
        if key in state:
            own[key].copy_(state[key])
    groups = _tied(own)
    known = {key for names, _ in groups for key in names}
    report.unexpected = [k for k in state if k not in known and not _is_auxiliary(k)]
    for names, target in groups:
        key = next((k for k in names if k in state), names[0])
        found = state.get(key)
        if found is not None and _is_head(model, key, target, found):
            if classes is None:
                heads_without_names += 1
                report.missing.append(key)
                continue
            if _fits(target, found, len(model.class_names), len(classes)):
                _copy_rows(target, found, rows, model.class_names, classes)
                report.by_class.append(key)
                report.matched.append(key)
                continue
        values += target.numel()
        if found is None:
            report.missing.append(key)
        elif found.shape != target.shape:
            report.reshaped.append(key)
        else:
            target.copy_(found)
            report.matched.append(key)
            filled += target.numel()
    if report.by_class:
        report.rows_by_name = [model.class_names[i] for i in rows]
        report.rows_at_random = [n for i, n in enumerate(model.class_names) if i not in rows]
    if heads_without_names:
        report.rows_at_random = list(model.class_names)
        report.remarks.append(
            f"its {heads_without_names} class layers start at random, as it does not name its classes: "
            "say which they are with --weights-classes (coco-80, coco-91, or a file of names)"
        )
    report.matched_share = filled / max(values, 1)
    return _judged(report, state, model, allow_partial, "values")


@torch.no_grad()
def load_backbone(
    model: Detector,
    stored: Stored,
    *,
    strip_prefix: str = "",
    add_prefix: str = "",
    allow_partial: bool = False,
) -> LoadReport:
    """Copy only the backbone, as a ResNet shared by two families; the rest of the model stays as it is.

    A file that holds a backbone alone (timm's, torchvision's) is given the beginning of the model's names.

    Raises:
        MissingResourceError: less than 90 % of the backbone's values were filled, unless ``allow_partial``.
    """
    state, report = _named(model, stored, strip_prefix, add_prefix)
    report.source = f"backbone from {report.source}"
    own = {k: v for k, v in model.network.state_dict().items() if model.is_backbone(k)}
    start = _common_beginning(list(own))
    if not any(key in own for key in state) and any(start + key in own for key in state):
        state, words = change_prefix(state, add=start)
        report.remarks.append(words)
    report.unexpected = [k for k in state if model.is_backbone(k) and k not in own and not _is_auxiliary(k)]
    filled = 0
    groups = _tied(own)
    for names, target in groups:
        key = next((k for k in names if k in state), names[0])
        found = state.get(key)
        if found is not None and found.shape == target.shape:
            target.copy_(found)
            report.matched.append(key)
            filled += target.numel()
        else:
            (report.missing if found is None else report.reshaped).append(key)
    report.matched_share = filled / max(sum(target.numel() for _, target in groups), 1)
    return _judged(report, state, model, allow_partial, "backbone")


def _named(model: Detector, stored: Stored, strip: str, add: str) -> tuple[dict[str, Tensor], LoadReport]:
    """The source's tensors under the model's names, and a report that says how they got them."""
    report = LoadReport(stored.label, stored.kind, dict(stored.origin), list(stored.remarks))
    state, words = change_prefix(stored.state, strip=strip, add=add)
    named, renamed = translate(state, model.network)
    report.remarks += [w for w in (words, renamed) if w]
    return named, report


def _judged(
    report: LoadReport, state: Mapping[str, Tensor], model: Detector, allow_partial: bool, what: str
) -> LoadReport:
    if report.enough:
        return report
    report.hint = prefix_hint(state, model.network)
    if allow_partial:
        report.remarks.append("partial, as --allow-partial allows")
        return report
    hint = f"; {report.hint}" if report.hint else ""
    least = f"{100 * MIN_MATCHED:.0f} % of the {what}"
    raise MissingResourceError(
        f"{report.line()}: less than {least} arrived, so it is not used{hint}; "
        "--allow-partial trains all the same"
    )


def _tied(own: Mapping[str, Tensor]) -> list[tuple[list[str], Tensor]]:
    """Tensors of a model with all names of each: a tied weight has several, and a file holds any of them."""
    groups: dict[object, tuple[list[str], Tensor]] = {}
    for key, value in own.items():
        if _is_auxiliary(key):
            continue
        same: object = (value.data_ptr(), value.shape) if value.numel() else key
        groups.setdefault(same, ([], value))[0].append(key)
    return list(groups.values())


def _is_auxiliary(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _is_head(model: Detector, key: str, target: Tensor, found: Tensor) -> bool:
    """Whether a layer has one row per class, in both, and the rows are alike."""
    if not any(name in key for name in model.class_layers):
        return False
    return target.dim() > 0 and found.dim() == target.dim() and found.shape[1:] == target.shape[1:]


def _fits(target: Tensor, found: Tensor, classes: int, source_classes: int) -> bool:
    """Whether both have one row per class, or both one more, for "no object"."""
    return any(
        target.shape[0] == classes + extra and found.shape[0] == source_classes + extra for extra in (0, 1)
    )


def _copy_rows(
    target: Tensor, found: Tensor, rows: Mapping[int, int], classes: Sequence[str], source: Sequence[str]
) -> None:
    if tuple(classes) == tuple(source):
        target.copy_(found)
        return
    for to, origin in rows.items():
        target[to] = found[origin]
    if target.shape[0] == len(classes) + 1 and found.shape[0] == len(source) + 1:
        target[-1] = found[-1]  # "no object"


def _common_beginning(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    parts = [key.split(".") for key in keys]
    depth = 0
    while all(len(p) > depth + 1 and p[depth] == parts[0][depth] for p in parts):
        depth += 1
    return "".join(f"{part}." for part in parts[0][:depth])
