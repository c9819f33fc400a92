"""Weights into a model, key by key, with a report of every key: nothing arrives or stays away unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from taco_kd.classes.spaces import partners
from taco_kd.errors import MissingResourceError, UsageError
from taco_kd.models.class_rows import copy_rows, fits, is_head
from taco_kd.models.detector import Detector, ImageModel
from taco_kd.models.load_report import MIN_MATCHED, LoadReport, some
from taco_kd.models.naming import change_prefix, common_beginning, prefix_hint, translate
from taco_kd.models.stored import Stored


@torch.no_grad()
def load_into(
    model: ImageModel,
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
        UsageError: ``source_classes`` are not as many as the rows of the source's head.
    """
    state, report = _named(model, stored, strip_prefix, add_prefix)
    report.remarks += model.adapt_to(state)
    classes = stored.classes if stored.classes is not None else source_classes
    rows = partners(model.class_names, classes or ())
    filled = values = 0
    heads_without_names = 0
    unfit: set[int] = set()
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
        if found is not None and is_head(model, key, target, found):
            if classes is None:
                heads_without_names += 1
                report.missing.append(key)
                continue
            if fits(target, found, len(model.class_names), len(classes)):
                copy_rows(target, found, rows, model.class_names, classes)
                report.by_class.append(key)
                report.matched.append(key)
                continue
            unfit.add(found.shape[0])
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
    if unfit and not report.by_class and stored.classes is None:
        rows_of_head = " or ".join(str(count) for count in sorted(unfit))
        raise UsageError(
            f"{stored.label}: its head has {rows_of_head} rows, and {len(classes or ())} "
            "classes were named for it (--weights-classes, --teacher-classes)"
        )
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
    alone = not any(model.is_backbone(key) for key in state)
    state = dict(model.rename_backbone(state))
    start = common_beginning(list(own))
    if not any(key in own for key in state) and any(start + key in own for key in state):
        state, words = change_prefix(state, add=start)
        report.remarks.append(words)
    # of a whole detector only its backbone counts, of a classifier everything
    report.unexpected = [
        k for k in state if (alone or model.is_backbone(k)) and k not in own and not _is_auxiliary(k)
    ]
    if alone and report.unexpected:
        parts = dict.fromkeys(key.split(".")[0] for key in report.unexpected)
        report.remarks.append(f"no place in the backbone for {some(list(parts))}")
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


def _named(model: ImageModel, stored: Stored, strip: str, add: str) -> tuple[dict[str, Tensor], LoadReport]:
    """The source's tensors under the model's names, and a report that says how they got them."""
    report = LoadReport(stored.label, stored.kind, dict(stored.origin), list(stored.remarks))
    state, words = change_prefix(stored.state, strip=strip, add=add)
    named, renamed = translate(state, model.network)
    report.remarks += [w for w in (words, renamed) if w]
    return named, report


def _judged(
    report: LoadReport,
    state: Mapping[str, Tensor],
    model: ImageModel,
    allow_partial: bool,
    what: str,
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
