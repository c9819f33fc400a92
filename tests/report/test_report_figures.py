"""Scales, smoothing, number formats and the SVG of the loss curves."""

from __future__ import annotations

import doctest
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from taco_kd.report import formats
from taco_kd.report.collect import Arm
from taco_kd.report.figures import loss_figures, scale, smooth


def test_doctests_of_the_formats() -> None:
    done = doctest.testmod(formats)
    assert done.attempted >= 5
    assert done.failed == 0


@pytest.mark.parametrize("values", [[22.3, 23.5], [-0.9, 3.3], [5.0], [0.0, 0.0], [1e-4, 2e-4], [1e5]])
def test_scale_holds_its_values(values: list[float]) -> None:
    axis = scale(values, zero=True)
    assert all(0 <= axis.at(v) <= 100 for v in [*values, 0.0])
    assert [x for _, x in axis.ticks] == sorted(x for _, x in axis.ticks)
    assert len(axis.ticks) >= 2


def test_smooth_is_a_mean_of_what_exists() -> None:
    assert smooth(np.array([0.0, 3.0, 6.0, 3.0]), 3) == pytest.approx([1.5, 3.0, 4.0, 4.5])
    assert smooth(np.array([2.0, 4.0]), 1) == pytest.approx([2.0, 4.0])
    assert smooth(np.full(9, 7.0), 4) == pytest.approx(np.full(9, 7.0))


def arm(position: int, steps: int, **terms: float) -> Arm:
    log = [{"step": i, "loss": sum(terms.values()) / i, "terms": dict(terms)} for i in range(1, steps + 1)]
    return Arm(f"arm {position}", position, {}, log=log)


def test_one_figure_for_each_term_with_a_line_for_each_arm_that_has_it() -> None:
    figures = loss_figures([arm(0, 500, vfl=1.0, giou=2.0), arm(1, 500, vfl=1.0, giou=2.0, kd_boxes=0.5)])
    assert [f.term for f in figures] == ["loss", "giou", "vfl", "kd_boxes"]
    for figure in figures:
        ElementTree.fromstring(figure.svg)
        assert ("var(--arm-0)" in figure.svg) == (figure.term != "kd_boxes")
        assert "var(--arm-1)" in figure.svg
        assert not re.search(r"#0[0-9a-f]{5}\b", figure.svg.replace("url(#", ""))  # no marker colour is left
        assert "<style" not in figure.svg
        assert len(figure.svg) < 40_000


def test_odd_logs_are_drawn_or_left_out() -> None:
    assert loss_figures([Arm("a", 0, {}, log=[])]) == []
    broken = [{"step": 1, "loss": float("nan")}, {"step": 2}, {"loss": 1.0}]
    assert loss_figures([Arm("a", 0, {}, log=broken)]) == []
    (one,) = loss_figures([Arm("a", 7, {}, log=[{"step": 1, "loss": -2.0}])])
    assert "var(--arm-1)" in one.svg  # colours begin again after six arms
