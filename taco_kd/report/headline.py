"""The verdict of a comparison as the page opens with it: a few words, then a sentence and interval each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from taco_kd.errors import DataError
from taco_kd.report.collect import Arm, Json
from taco_kd.report.figures import Scale, scale

Tone = Literal["better", "worse", "unclear", "none"]
_TONES: dict[str, Tone] = {"better": "better", "worse": "worse", "not distinguishable": "unclear"}


@dataclass(frozen=True)
class Contrast:
    """``name`` against ``reference`` in AP points (AP x 100); ``p_adjusted`` where several are tested."""

    name: str
    reference: str
    estimate: float
    low: float
    high: float
    p_value: float
    p_adjusted: float | None
    tone: Tone
    words: str


@dataclass(frozen=True)
class Headline:
    """``words`` for the heading, ``lines`` under it, ``tone`` for its colour, and what is drawn below."""

    words: str
    lines: list[str]
    tone: Tone
    contrasts: list[Contrast] = field(default_factory=list)
    axis: Scale | None = None


def headline(comparison: Json | None, arms: Sequence[Arm]) -> Headline:
    """What the page says first.

    Args:
        comparison: ``Comparison.to_json()`` of :mod:`taco_kd.evaluate.comparison`, or None.
        arms: the runs of the page.

    Raises:
        DataError: the comparison lacks a key.
    """
    if comparison is None:
        return _uncompared(arms)
    try:
        several = len(comparison["differences"]) > 1
        contrasts = [
            _contrast(found, str(comparison["reference"]), several) for found in comparison["differences"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"comparison: not a taco-kd comparison (lacks {error}); make it anew") from None
    if not contrasts:
        return _uncompared(arms)
    lines = [contrast.words + "." for contrast in contrasts]
    others = comparison.get("confounders") or []
    if others:
        lines.append(
            f"{len(others)} other thing{' differs' if len(others) == 1 else 's differ'} between the runs and "
            "may be the cause as well: see the caveats below the table."
        )
    ends = [value for contrast in contrasts for value in (contrast.low, contrast.high, contrast.estimate)]
    margin = max(map(abs, ends)) / 8  # keeps zero off the edge
    return Headline(
        words=_many(contrasts) if several else _one(contrasts[0], _distilled(comparison, arms), bool(others)),
        lines=lines,
        tone=contrasts[0].tone if len({contrast.tone for contrast in contrasts}) == 1 else "unclear",
        contrasts=contrasts,
        axis=scale([*ends, -margin, margin], bins=8),
    )


def _contrast(found: Json, reference: str, several: bool) -> Contrast:
    interval = found["interval"]
    return Contrast(
        name=str(found["name"]),
        reference=str(found.get("reference") or reference),
        estimate=100 * interval["estimate"],
        low=100 * interval["low"],
        high=100 * interval["high"],
        p_value=found["p_value"],
        p_adjusted=found.get("p_adjusted") if several else None,
        tone=_TONES.get(found["outcome"], "unclear"),
        words=str(found["words"]),
    )


def _distilled(comparison: Json, arms: Sequence[Arm]) -> dict[str, bool]:
    """Whether each arm of the comparison was distilled; its runs tell, where it is made of several."""
    kinds = {arm.name: arm.distilled for arm in arms}
    for arm in comparison.get("arms") or []:
        members = [kinds[name] for name in arm.get("members") or [] if name in kinds]
        if members:
            kinds[str(arm["name"])] = all(members)
    return kinds


def _one(contrast: Contrast, kinds: dict[str, bool], confounded: bool) -> str:
    """Speaks of distillation only where that is all that differs."""
    treated = kinds.get(contrast.name, False) and not kinds.get(contrast.reference, True)
    points = f"{abs(contrast.estimate):.1f} AP points"
    if contrast.tone == "unclear":
        if treated and not confounded:
            return "No proof that distillation helped or hurt"
        return f"{contrast.name} and {contrast.reference} cannot be told apart"
    if treated and not confounded:
        return f"Distillation {'helped' if contrast.tone == 'better' else 'hurt'}, by {points}"
    return f"{contrast.name} is {contrast.tone} than {contrast.reference} by {points}"


def _many(contrasts: Sequence[Contrast]) -> str:
    labels = {"better": "better", "worse": "worse", "unclear": "not distinguishable"}
    counts = {label: sum(c.tone == tone for c in contrasts) for tone, label in labels.items()}
    found = ", ".join(f"{count} {label}" for label, count in counts.items() if count)
    if len({contrast.reference for contrast in contrasts}) > 1:
        return f"{len(contrasts)} pairs of models: {found}"
    return f"{len(contrasts)} models against {contrasts[0].reference}: {found}"


def _uncompared(arms: Sequence[Arm]) -> Headline:
    if len(arms) > 1:
        return Headline(
            "No verdict: these runs were not compared",
            ["Figures differ by chance too. Whether a difference is more than that: taco-kd compare."],
            "none",
        )
    ap = (arms[0].metrics or {}).get("ap")
    words = f"{arms[0].name}: " + ("not evaluated" if ap is None else f"AP {100 * ap:.1f}")
    return Headline(words, ["One run alone: there is nothing to compare it with."], "none")
